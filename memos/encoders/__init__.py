"""Neural models behind small ports: every port has a real implementation and a fake that passes its tests.

None of the libraries in here may tell anybody that it is used. ONNX Runtime reads its switch once, when it is loaded; left
alone it makes up an id for the machine, keeps it in the home directory and reports sessions and models to its maker.
"""

import os

for _switch in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
    os.environ[_switch] = "1"

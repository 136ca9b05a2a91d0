"""Compose and Kubernetes files: parsed, and held to what they promise. (No engine runs here: what is tested is the shape.)"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from memos.settings import Settings

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
Json = dict[str, Any]
OURS = ("api", "worker", "worker-kv", "beat", "migrate")


@pytest.fixture(scope="module")
def compose() -> Json:
    loaded: Json = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


def resources() -> Iterator[tuple[str, Json]]:
    for path in sorted([*(KUBERNETES / "base").glob("*.yaml"), *(KUBERNETES / "kv").glob("*.yaml")]):
        for document in yaml.safe_load_all(path.read_text()):
            if document["kind"] not in {"Kustomization", "Component"}:
                yield f"{document['kind']}/{document['metadata']['name']}", document


RESOURCES = dict(resources())
PODS = {name: r["spec"]["template"]["spec"] for name, r in RESOURCES.items() if r["kind"] in {"Deployment", "Job"}}


# ---------------------------------------------------------------- compose


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose is not installed")
def test_compose_is_valid() -> None:
    done = subprocess.run(
        ["docker-compose", "--env-file", ".env.example", "config", "-q"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={k: v for k, v in os.environ.items() if not k.startswith(("MEMOS_", "POSTGRES_", "VALKEY_"))},
    )
    assert done.returncode == 0, done.stderr


def test_every_container_is_confined(compose: Json) -> None:
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["deploy"]["resources"]["limits"].keys() >= {"memory", "cpus"}, name
        assert service["pids_limit"] > 0, name
        assert service["logging"]["options"]["max-size"], name
        assert service["tmpfs"], name
        assert service["restart"] == ("no" if name == "migrate" else "unless-stopped"), name
        assert name == "postgres" or not re.match(r"(root|0)\b", str(service["user"])), name


def test_only_the_migration_sees_the_owner(compose: Json) -> None:
    for name in OURS:
        environment = compose["services"][name]["environment"]
        assert ("DATABASE_URL" in environment) == (name == "migrate"), name
        assert ("MEMOS_OWNER_KEY" in environment) == (name == "migrate"), name


def test_parts_wait_for_what_they_need_and_say_how_they_are(compose: Json) -> None:
    for name in ("api", "worker", "worker-kv", "beat"):
        assert compose["services"][name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    for name in ("postgres", "valkey", "api", "worker", "worker-kv"):
        assert compose["services"][name]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}, name
    assert "healthz" in str(compose["services"]["api"]["healthcheck"])


def test_only_the_api_is_published_and_on_this_machine_unless_told_otherwise(compose: Json) -> None:
    published = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert list(published) == ["api"]
    assert published["api"][0].startswith("${MEMOS_BIND:-127.0.0.1}:")
    assert compose["networks"]["inside"]["internal"] is True
    for name in ("postgres", "valkey"):
        assert compose["services"][name]["networks"] == ["inside"]


def test_no_secret_stands_in_the_file(compose: Json) -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    required = set(re.findall(r"\$\{([A-Z_]+):\?", text))
    assert required == {"MEMOS_APP_PASSWORD", "VALKEY_PASSWORD", "MEMOS_SECRET", "POSTGRES_PASSWORD", "MEMOS_OWNER_KEY"}
    example = (ROOT / ".env.example").read_text()
    assert all(f"{name}=" in example for name in required)


def test_every_part_has_time_to_stop(compose: Json) -> None:
    def seconds(text: str) -> int:
        return int(text.removesuffix("s"))

    assert seconds(compose["services"]["api"]["stop_grace_period"]) >= 20
    assert seconds(compose["services"]["worker"]["stop_grace_period"]) >= 60


def test_the_connections_of_compose_fit_the_server(compose: Json) -> None:
    """The formula of docs/running.md for one API and one worker, with room for three APIs."""
    most = int(re.search(r"POSTGRES_MAX_CONNECTIONS:-(\d+)", compose["services"]["postgres"]["command"])[1])  # type: ignore[index]
    pool = int(compose["services"]["api"]["environment"]["MEMOS_POOL_SIZE"].removeprefix("${MEMOS_POOL_SIZE:-")[:-1])
    assert 3 * (pool + 1) + 2 * 4 + 10 <= most


# ---------------------------------------------------------------- Kubernetes


def test_kustomize_lists_what_is_there() -> None:
    for folder in (KUBERNETES / "base", KUBERNETES / "example", KUBERNETES / "kv"):
        kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
        for resource in kustomization["resources"]:
            assert (folder / resource).exists(), resource
    base = yaml.safe_load((KUBERNETES / "base" / "kustomization.yaml").read_text())
    listed = set(base["resources"])
    assert listed == {p.name for p in (KUBERNETES / "base").glob("*.yaml")} - {"kustomization.yaml"}
    # The network policy finds the pods by the label that is put on templates here.
    assert base["labels"] == [{"pairs": {"app.kubernetes.io/part-of": "memos"}, "includeTemplates": True}]


def test_the_parts_are_all_there() -> None:
    assert RESOURCES.keys() >= {
        "Deployment/memos-api", "Deployment/memos-worker", "Deployment/memos-beat", "Job/memos-migrate",
        "Service/memos-api", "PodDisruptionBudget/memos-api", "HorizontalPodAutoscaler/memos-api",
        "HorizontalPodAutoscaler/memos-worker", "NetworkPolicy/memos", "ServiceAccount/memos", "ConfigMap/memos",
    }  # fmt: skip


@pytest.mark.parametrize("name", PODS)
def test_every_pod_is_confined(name: str) -> None:
    pod = PODS[name]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize("name", PODS)
def test_only_the_migration_gets_the_owners_secret(name: str) -> None:
    [container] = PODS[name]["containers"]
    secrets = {source["secretRef"]["name"] for source in container["envFrom"] if "secretRef" in source}
    assert secrets == ({"memos-app", "memos-owner"} if name == "Job/memos-migrate" else {"memos-app"})


def test_building_caches_has_workers_of_its_own(compose: Json) -> None:
    """With the component, or the profile; without either the one kind of worker does both."""
    [kv] = PODS["Deployment/memos-worker-kv"]["containers"]
    assert kv["command"] == ["memos", "worker", "--lane", "kv"]
    component = yaml.safe_load((KUBERNETES / "kv" / "kustomization.yaml").read_text())
    patched = {patch["target"]["name"]: yaml.safe_load(patch["patch"]) for patch in component["patches"]}
    assert patched["memos-worker"][0]["value"] == ["memos", "worker", "--lane", "main"]
    assert {op["path"]: op["value"] for op in patched["memos"]}["/data/MEMOS_KV_BLOBS"] == "postgres"
    [plain] = PODS["Deployment/memos-worker"]["containers"]
    assert plain["command"] == ["memos", "worker"]
    services = compose["services"]
    assert services["worker-kv"]["profiles"] == ["kv"]
    assert services["worker-kv"]["command"] == ["memos", "worker", "--lane", "kv"]
    lanes = [re.sub(r"\$\{\w+:-(\w+)\}", r"\1", word) for word in services["worker"]["command"]]
    assert lanes == ["memos", "worker", "--lane", "main", "--lane", "kv"]


def test_probes_and_an_end_without_loss() -> None:
    api = RESOURCES["Deployment/memos-api"]["spec"]
    [container] = api["template"]["spec"]["containers"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["startupProbe"]
    assert api["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    drain_s = float(RESOURCES["ConfigMap/memos"]["data"]["MEMOS_DRAIN_S"])
    probe = container["readinessProbe"]
    assert drain_s >= probe["periodSeconds"] * probe["failureThreshold"], "gone before anybody notices"
    assert api["template"]["spec"]["terminationGracePeriodSeconds"] > drain_s + 10 + 5
    assert RESOURCES["Deployment/memos-beat"]["spec"]["strategy"] == {"type": "Recreate"}
    assert RESOURCES["Deployment/memos-beat"]["spec"]["replicas"] == 1


def test_selectors_find_their_pods() -> None:
    for name, resource in RESOURCES.items():
        if resource["kind"] == "Deployment":
            labels = resource["spec"]["template"]["metadata"]["labels"]
            assert labels.items() >= resource["spec"]["selector"]["matchLabels"].items(), name
    labels = RESOURCES["Deployment/memos-api"]["spec"]["template"]["metadata"]["labels"]
    assert labels.items() >= RESOURCES["Service/memos-api"]["spec"]["selector"].items()
    assert labels.items() >= RESOURCES["PodDisruptionBudget/memos-api"]["spec"]["selector"]["matchLabels"].items()
    for kind in ("api", "worker"):
        target = RESOURCES[f"HorizontalPodAutoscaler/memos-{kind}"]["spec"]["scaleTargetRef"]
        assert f"{target['kind']}/{target['name']}" in RESOURCES


def test_every_setting_that_is_set_exists(compose: Json) -> None:
    known = {f"MEMOS_{field.upper()}" for field in Settings.model_fields} | {"DATABASE_URL", "REDIS_URL"}
    set_here = set(RESOURCES["ConfigMap/memos"]["data"])
    for document in yaml.safe_load_all((KUBERNETES / "example" / "secrets.example.yaml").read_text()):
        set_here |= set(document["stringData"])
    for name in OURS:
        set_here |= {key for key in compose["services"][name]["environment"] if not key.startswith("OTEL_")}
    assert set_here <= known

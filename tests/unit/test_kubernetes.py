"""The manifests against Kubernetes' own schemas, and in what no schema sees: how they fit each other and the server."""

from __future__ import annotations

import json
import subprocess
from itertools import chain
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from tests.support.tools import require_tool
from whispergpt.deploy.ray.policy import SlackPolicy
from whispergpt.server.settings import Settings

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
FOLDER = DEPLOY / "kubernetes"
OLDEST, NEWEST = "1.30", kubernetes_validate.latest_version()
"""Of Kubernetes: the oldest that the manifests are for, and the newest whose schemas there are."""
METRIC = "whispergpt_streams_taken_share"


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    return content


def manifests() -> list[str]:
    return [name.removesuffix(".yaml") for name in read("kustomization")["resources"]]


def pod_of(manifest: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = manifest["spec"]["template"]["spec"]
    return spec


def ray_templates() -> list[dict[str, Any]]:
    cluster = read("rayservice")["spec"]["rayClusterConfig"]
    return [group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


def check(manifest: dict[str, Any]) -> None:
    for version in (OLDEST, NEWEST):
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("name", manifests())
def test_each_manifest_is_what_its_schema_says(name: str) -> None:
    check(read(name))


def test_the_schemas_would_tell() -> None:
    manifest = read("deployment")
    manifest["spec"]["template"]["spec"]["containers"][0]["readOnlyRootFilesystem"] = True  # a place too high
    with pytest.raises(kubernetes_validate.ValidationError):
        check(manifest)


def test_no_manifest_is_left_out() -> None:
    others = {"kustomization", "prometheus-adapter", "podmonitor", "rayservice", "rayservice-networkpolicy"}
    assert {path.stem for path in FOLDER.glob("*.yaml")} == {*manifests(), *others}


def test_labels_meet_selectors_and_ports_meet_ports() -> None:
    deployment, service = read("deployment"), read("service")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    spread = pod_of(deployment)["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"]
    policy = read("networkpolicy")["spec"]
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        read("pdb")["spec"]["selector"]["matchLabels"],
        policy["podSelector"]["matchLabels"],
        spread,
    ]
    assert all(selector and selector.items() <= labels.items() for selector in selectors)
    target = read("hpa")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == (deployment["kind"], deployment["metadata"]["name"])
    assert "replicas" not in deployment["spec"], "the autoscaler's"

    (container,) = pod_of(deployment)["containers"]
    (port,) = container["ports"]
    assert port["containerPort"] == Settings.model_fields["port"].default
    probes = [container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")]
    assert [probe["path"] for probe in probes] == ["/health/live", "/health/live", "/health/ready"]
    named = [probe["port"] for probe in probes]
    named += [service["spec"]["ports"][0]["targetPort"], policy["ingress"][0]["ports"][0]["port"]]
    assert set(named) == {port["name"]}


def test_a_pod_ends_after_its_streams() -> None:
    pod = pod_of(read("deployment"))
    (container,) = pod["containers"]
    before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain = settings_of(container).drain_seconds
    assert before + drain + 10 < pod["terminationGracePeriodSeconds"]


def settings_of(container: dict[str, Any]) -> Settings:
    """What the server makes of a container's environment; what comes from a Secret is made up."""
    given = {one["name"]: one.get("value", "a secret of some length") for one in container["env"]}
    given = {name: value for name, value in given.items() if name.startswith("WHISPERGPT_")}
    return Settings(**{name.removeprefix("WHISPERGPT_").lower(): value for name, value in given.items()})


def test_secrets_come_from_a_secret() -> None:
    for template in (read("deployment")["spec"]["template"], ray_templates()[1]):
        (container,) = template["spec"]["containers"]
        keys = {one["name"]: one for one in container["env"]}
        assert keys["WHISPERGPT_RESUME_KEY"]["valueFrom"]["secretKeyRef"] == {"name": "whispergpt", "key": "resume-key"}
        settings = settings_of(container)
        assert settings.keys is not None and not settings.open
        mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
        assert mounts["keys"]["mountPath"] == str(settings.keys.parent) and mounts["keys"]["readOnly"]
        (volume,) = (volume for volume in template["spec"]["volumes"] if volume["name"] == "keys")
        files = [settings.keys.name, "metrics-token"]
        assert volume["secret"]["items"] == [{"key": name, "path": name} for name in files]
        assert not settings.open_metrics and settings.metrics_token_file == settings.keys.parent / "metrics-token"


def test_pods_have_no_rights() -> None:
    for spec in (pod_of(read("deployment")), *(template["spec"] for template in ray_templates())):
        assert spec["enableServiceLinks"] is False, "the Service would set WHISPERGPT_PORT"
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] == 10001
        for container in spec["containers"]:
            may = container["securityContext"]
            assert may["capabilities"] == {"drop": ["ALL"]} and may["allowPrivilegeEscalation"] is False
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted == {volume["name"] for volume in spec["volumes"] if "projected" not in volume}
            assert container["resources"]["requests"] == container["resources"]["limits"]
            assert container["resources"]["limits"].keys() == {"cpu", "memory", "ephemeral-storage"}
        for volume in spec["volumes"]:
            assert "emptyDir" not in volume or "sizeLimit" in volume["emptyDir"]
    (container,) = pod_of(read("deployment"))["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert {"/tmp", "/var/cache/whispergpt"} <= {mount["mountPath"] for mount in container["volumeMounts"]}


def test_only_rays_autoscaler_has_a_token_for_kubernetes() -> None:
    cluster = read("rayservice")["spec"]["rayClusterConfig"]
    head, worker = ray_templates()
    (volume,) = (volume for volume in head["spec"]["volumes"] if "projected" in volume)
    sources = [next(iter(source)) for source in volume["projected"]["sources"]]
    assert sources == ["serviceAccountToken", "configMap", "downwardAPI"]
    assert not [volume for volume in worker["spec"]["volumes"] if "projected" in volume]
    options = cluster["autoscalerOptions"]
    (mount,) = options["volumeMounts"]
    assert mount == {
        "name": volume["name"],
        "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
        "readOnly": True,
    }
    assert options["securityContext"] == head["spec"]["containers"][0]["securityContext"]
    # What KubeRay makes of it: a container in the head's pod.
    sidecar = {"name": "autoscaler", "image": "whispergpt:ray"}
    sidecar |= {name: options[name] for name in ("resources", "securityContext", "volumeMounts")}
    spec = {**head["spec"], "containers": [*head["spec"]["containers"], sidecar]}
    check({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "head"}, "spec": spec})


def test_network_policies_select_the_pods_on_ray() -> None:
    path = FOLDER / "rayservice-networkpolicy.yaml"
    policies: list[dict[str, Any]] = list(yaml.safe_load_all(path.read_text()))
    for policy in policies:
        check(policy)
    for policy in (read("networkpolicy"), *policies):
        assert policy["spec"]["podSelector"]["matchLabels"], "an empty selector is the whole namespace's"
    fleet, autoscaler = (policy["spec"] for policy in policies)
    head, worker = (template["metadata"]["labels"] for template in ray_templates())

    def selects(spec: dict[str, Any], labels: dict[str, str]) -> bool:
        return bool(spec["podSelector"]["matchLabels"].items() <= labels.items())

    assert [selects(fleet, head), selects(fleet, worker)] == [True, True]
    assert [selects(autoscaler, head), selects(autoscaler, worker)] == [True, False]
    assert fleet["policyTypes"] == ["Ingress", "Egress"] and "ingress" not in autoscaler
    own = [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "whispergpt-ray"}}}]
    ports = {
        container["name"]: container["ports"]
        for template in ray_templates()
        for container in template["spec"]["containers"]
    }
    (public,) = [rule["ports"] for rule in fleet["ingress"] if "from" not in rule]
    assert [port["port"] for port in public] == [port["containerPort"] for port in ports["ray-worker"]] == [8000]
    for rule in fleet["ingress"]:
        if rule.get("from") == own:
            assert "ports" not in rule, "Ray's processes find each other at ports of their choice"
        elif "from" in rule:
            (peer,) = rule["from"]
            assert peer["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "kuberay-operator"}
            assert {port["port"] for port in rule["ports"]} <= {8265, 52365}
    assert fleet["egress"][0] == {"to": own}
    assert all("to" in rule for rule in fleet["egress"]), "to nobody else"


def test_prometheus_scrapes_with_the_token() -> None:
    monitor = read("podmonitor")
    labels = read("deployment")["spec"]["template"]["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    (container,) = pod_of(read("deployment"))["containers"]
    assert (endpoint["port"], endpoint["path"]) == (container["ports"][0]["name"], "/metrics")
    token = endpoint["authorization"]["credentials"]
    (volume,) = (volume for volume in pod_of(read("deployment"))["volumes"] if volume["name"] == "keys")
    assert token["name"] == volume["secret"]["secretName"]
    assert token["key"] in [item["key"] for item in volume["secret"]["items"]]


def test_the_autoscaler_asks_for_what_the_adapter_makes() -> None:
    (asked,) = read("hpa")["spec"]["metrics"]
    (rule,) = read("prometheus-adapter")["rules"]["custom"]
    assert asked["pods"]["metric"]["name"] == rule["name"]["as"] == METRIC


def test_the_adapters_query_in_prometheus(tmp_path: Path) -> None:
    """By promtool, with the adapter's places filled as it fills them."""
    program = require_tool("promtool")
    (rule,) = read("prometheus-adapter")["rules"]["custom"]
    query = rule["metricsQuery"]
    for place, text in {
        "<<.Series>>": "whispergpt_streams_slack",
        "<<.LabelMatchers>>": 'namespace="here",pod=~"full|half|waiting|none"',
        "<<.GroupBy>>": "pod",
    }.items():
        assert place in query
        query = query.replace(place, text)
    limits = {"full": (8, 8), "half": (8, 4), "waiting": (8, 10), "none": (0, 1)}  # and what plays or waits
    share = {"full": 1.0, "half": 0.5, "waiting": 1.25, "none": 2.0}
    series = [
        {"series": f'whispergpt_streams_{what}{{namespace="here",pod="{pod}",model="speech"}}', "values": str(value)}
        for pod, (limit, taken) in limits.items()
        for what, value in (("limit", limit), ("slack", limit - taken))
    ]
    # A pod's second model, which has more room.
    series += [
        {"series": f'whispergpt_streams_{what}{{namespace="here",pod="half",model="piano"}}', "values": str(value)}
        for what, value in (("limit", 10), ("slack", 9))
    ]
    expected = [{"labels": f'{{pod="{pod}"}}', "value": value} for pod, value in share.items()]
    test = {"input_series": series, "promql_expr_test": [{"expr": query, "eval_time": "0s", "exp_samples": expected}]}
    path = tmp_path / "test.json"
    path.write_text(json.dumps({"evaluation_interval": "1m", "tests": [{"interval": "1m", **test}]}))
    told = subprocess.run([program, "test", "rules", str(path)], capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stdout + told.stderr


def test_the_ray_services_pods_are_pods() -> None:
    service = read("rayservice")
    assert (service["apiVersion"], service["kind"]) == ("ray.io/v1", "RayService")
    assert service["spec"].keys() == {"excludeHeadPodFromServeSvc", "serveConfigV2", "rayClusterConfig"}
    cluster = service["spec"]["rayClusterConfig"]
    parts = {"rayVersion", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec", "workerGroupSpecs"}
    assert cluster.keys() == parts
    assert cluster["headGroupSpec"].keys() == {"rayStartParams", "template"}
    (group,) = cluster["workerGroupSpecs"]
    assert group.keys() == {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
    for started in chain(cluster["headGroupSpec"]["rayStartParams"].values(), group["rayStartParams"].values()):
        assert isinstance(started, str)
    for template in ray_templates():
        (container,) = template["spec"]["containers"]
        assert {"name": "RAY_SERVE_PROXY_PREFER_LOCAL_NODE_ROUTING", "value": "0"} in container["env"]
        check({"apiVersion": "v1", "kind": "Pod", **template, "metadata": {"name": "pod", **template["metadata"]}})


def test_both_fleets_on_ray_are_what_ray_reads() -> None:
    ours = yaml.safe_load((DEPLOY / "ray" / "serve.yaml").read_text())
    theirs = yaml.safe_load(read("rayservice")["spec"]["serveConfigV2"])
    assert theirs == ours
    (application,) = ServeDeploySchema.model_validate(ours).applications
    assert application.import_path == "whispergpt.deploy.ray.app:fleet"
    (deployment,) = ours["applications"][0]["deployments"]
    scaling = deployment["autoscaling_config"]
    policy = scaling["policy"]
    assert policy["policy_function"] == f"{SlackPolicy.__module__}:{SlackPolicy.__name__}"
    SlackPolicy(**policy["policy_kwargs"])
    assert deployment["graceful_shutdown_timeout_s"] > Settings.model_fields["drain_seconds"].default

    (group,) = read("rayservice")["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    assert (group["minReplicas"], group["maxReplicas"]) == (scaling["min_replicas"], scaling["max_replicas"])
    cpus = str(deployment["ray_actor_options"]["num_cpus"])
    (container,) = group["template"]["spec"]["containers"]
    assert group["rayStartParams"]["num-cpus"] == container["resources"]["limits"]["cpu"] == cpus, "a replica a pod"
    leaves = group["template"]["spec"]["terminationGracePeriodSeconds"]
    assert leaves > deployment["graceful_shutdown_timeout_s"]

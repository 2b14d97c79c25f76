"""What an edit may do to the rendering: images become the wanted ones, and nothing else moves."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.bump import render_gate
from ci.bump.render_gate import Expected
from ci.model import ImageRef

DIGEST = "sha256:" + "a" * 64
OLD = "registry.example/cloudopshub-das:41-1a2b3c4d@sha256:" + "0" * 64
NEW = ImageRef("registry.example/cloudopshub-das", "42-5e6f7a8b", DIGEST)
IMAGES = {"cloudopshub-das": NEW}

POD = {
    "metadata": {"labels": {"app": "das"}},
    "spec": {
        "initContainers": [{"name": "wait", "image": OLD}],
        "containers": [
            {"name": "das", "image": OLD},
            {"name": "mesh", "image": "mesh.example/proxy:1"},
        ],
    },
}


def named(kind, spec, name="das", api="apps/v1"):
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec}


def deployment(image=OLD, name="das", **spec):
    template = copy.deepcopy(POD)
    template["spec"]["initContainers"][0]["image"] = image
    template["spec"]["containers"][0]["image"] = image
    return named("Deployment", {"replicas": 2, "template": template, **spec}, name)


def refused(after, before=None, images=None, may_change=(), **more):
    expected = Expected(images or IMAGES, may_change, **more)
    return render_gate.refusals([deployment()] if before is None else before, after, expected)


WORKLOADS = {
    "Pod": copy.deepcopy(POD["spec"]),
    "Deployment": {"template": POD},
    "StatefulSet": {"template": POD},
    "DaemonSet": {"template": POD},
    "Job": {"template": POD, "ttlSecondsAfterFinished": 60},
    "CronJob": {"jobTemplate": {"spec": {"template": POD}}},
    "Rollout": {"template": POD},
}


def with_image(value, image):
    """`value`, with every old image replaced."""
    if isinstance(value, dict):
        return {key: with_image(each, image) for key, each in value.items()}
    if isinstance(value, list):
        return [with_image(each, image) for each in value]
    return image if value == OLD else value


@pytest.mark.parametrize("kind", WORKLOADS)
def test_an_image_of_any_kind_of_pod_may_change(kind):
    """Containers and init containers, of whatever makes pods, custom kinds among them."""
    item = named(kind, WORKLOADS[kind])
    assert refused([with_image(item, str(NEW))], [item]) == []


@pytest.mark.parametrize(
    ("annotations", "passes"),
    [
        ({}, False),
        ({"helm.sh/hook": "pre-upgrade"}, True),
        ({"argocd.argoproj.io/hook": "Sync"}, True),
        ({"argocd.argoproj.io/sync-options": "Force=true,Replace=true"}, True),
        ({"argocd.argoproj.io/sync-options": "Prune=false"}, False),
    ],
)
def test_a_job_that_nobody_makes_anew_keeps_its_image(annotations, passes):
    """Its template is immutable: the sync would fail, after everybody believed it delivered."""
    before = named("Job", {"template": POD})
    before["metadata"]["annotations"] = annotations
    found = refused([with_image(before, str(NEW))], [before])
    assert (found == []) is passes
    assert all("Job das: " in line and "immutable" in line for line in found)


def test_a_field_of_a_custom_resource_may_change_when_it_held_the_image():
    """A kind that nobody knows holds the image in a field called so."""
    item = named("Operand", {"image": OLD}, api="example.org/v1")
    assert refused([with_image(item, str(NEW))], [item]) == []
    other = named("Operand", {"image": "example.org/something:1"}, api="example.org/v1")
    found = refused([named("Operand", {"image": str(NEW)}, api="example.org/v1")], [other])
    assert "not an image this edit is about" in found[0]


def test_nothing_to_change_is_fine():
    """A second run finds the wanted image before and after."""
    there = [deployment(str(NEW))]
    assert refused(there, there) == []


@pytest.mark.parametrize(
    "rendered",
    [
        pytest.param("registry.example/cloudopshub-das:1e+10", id="a bare 1e10"),
        pytest.param("registry.example/cloudopshub-das:42-5e6f7a8b", id="the digest is missing"),
        pytest.param(f"other.example/cloudopshub-das:42-5e6f7a8b@{DIGEST}", id="other registry"),
        pytest.param(42, id="a number"),
        pytest.param(None, id="an empty value"),
    ],
)
def test_an_image_is_exactly_the_wanted_one(rendered):
    """What a template or YAML makes of a tag is seen in the rendering."""
    found = refused([deployment(rendered)])
    assert any(f"wanted is {NEW}" in line for line in found)


def test_an_empty_image_is_not_the_wanted_one_whatever_pins_it():
    """A field called `image` that holds nothing shows no image, also where no digest is written."""
    found = refused([deployment(None)], images={"cloudopshub-das": TAG_ONLY})
    assert any(f"wanted is {TAG_ONLY}" in line for line in found)
    empty = named("Operand", {"image": None}, api="example.org/v1")
    (line,) = refused([empty], [empty], {"cloudopshub-das": TAG_ONLY})
    assert "appears nowhere" in line


def test_a_part_read_elsewhere_may_come_as_a_whole_mapping():
    """What is no text is no part of an image: refused, with its place."""
    expected = {"read_elsewhere": {"cloudopshub-das"}}
    before, after = (named("X", {"a": value}) for value in (1, {"b": [2]}))
    (line,) = refused([after], [before], **expected)
    assert line.startswith("X das: spec.a changes from 1 to {'b': [2]}")


def test_a_value_that_no_template_reads_is_refused():
    """An edit that changes nothing in the cluster is no delivery."""
    found = refused([deployment()])
    (line,) = found
    assert line.startswith(f"{NEW} appears nowhere in the rendering: no template reads the value")
    assert "read_elsewhere" in line


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda item: item["spec"].update(replicas=3), "spec.replicas changes from 2 to 3"),
        (lambda item: item["spec"].update(paused=True), "spec.paused changes from nothing to True"),
        (lambda item: item["spec"].pop("replicas"), "spec.replicas changes from 2 to nothing"),
        (lambda item: item["spec"].update(replicas="2"), "spec.replicas changes from 2 to 2"),
        (
            lambda item: item["spec"]["template"]["metadata"]["labels"].update(version="42"),
            "spec.template.metadata.labels.version changes from nothing to 42",
        ),
        (
            lambda item: item["spec"]["template"]["spec"]["containers"][0].update(env=[]),
            "spec.template.spec.containers[das].env changes",
        ),
        (
            lambda item: item["spec"]["template"]["spec"]["containers"].pop(),
            "spec.template.spec.containers[1] changes",
        ),
        (
            lambda item: item["spec"]["template"]["spec"]["containers"][1].update(
                image="mesh.example/proxy:2"
            ),
            "[mesh].image changes from mesh.example/proxy:1 to mesh.example/proxy:2; wanted is",
        ),
    ],
)
def test_anything_beside_the_image_is_refused_with_its_place(change, said):
    """Object, path, before and after stand in the refusal."""
    after = deployment(str(NEW))
    change(after)
    (line,) = refused([after])
    assert line.startswith("Deployment das: ")
    assert said in line


def test_values_of_a_secret_are_not_told():
    """A chart that makes a new password at each rendering is refused, and the password kept."""
    before = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"p": "old"}}
    after = {**before, "data": {"p": "hunter2"}}
    found = render_gate.refusals([before], [after], Expected({}))
    assert found[0].startswith("Secret s: data.p changes; only images may change")
    assert "hunter2" not in found[0]
    assert "old" not in found[0]


def test_objects_neither_appear_nor_vanish():
    """A tag in an object's name would make a new object at each bump."""
    found = refused([deployment(str(NEW), name="das-42")])
    assert found[:2] == ["Deployment das is gone", "Deployment das-42 is new"]


def test_an_object_that_the_configuration_names_may_come_and_go():
    """`Kind name` in may_change, with * for anything."""
    before, after = [deployment()], [deployment(str(NEW)), named("Job", {}, "migrate-2")]
    assert refused(after, before) == ["Job migrate-2 is new"]
    assert refused(after, before, may_change=["Job migrate-*"]) == []


def test_two_objects_of_one_name_are_both_looked_at():
    """A rendering that says the same name twice hides nothing behind the second."""
    before = [deployment(), deployment()]
    after = [deployment(str(NEW)), deployment(str(NEW), replicas=9)]
    assert "number 2 of that name" in refused(after, before)[0]


def test_several_images_of_one_rendering_do_not_swap():
    """In an umbrella chart each image goes where its own name stood."""
    ui = ImageRef("registry.example/cloudopshub-ui", "42-5e6f7a8b", DIGEST)
    images = {**IMAGES, "cloudopshub-ui": ui}
    before = [deployment(), deployment("old.example:5000/x/cloudopshub-ui:41", name="ui")]
    good = [deployment(str(NEW)), deployment(str(ui), name="ui")]
    assert refused(good, before, images) == []
    swapped = [deployment(str(ui)), deployment(str(NEW), name="ui")]
    found = refused(swapped, before, images)
    assert [line.partition(":")[0] for line in found] == ["Deployment das"] * 2 + [
        "Deployment ui"
    ] * 2


def test_an_image_without_a_tag_is_known_by_its_name():
    """The port of a registry is no tag."""
    ui = ImageRef("registry.example/cloudopshub-ui", "42-5e6f7a8b", DIGEST)
    before = [deployment(), deployment("old.example:5000/x/cloudopshub-ui", name="ui")]
    after = [deployment(str(NEW)), deployment(str(ui), name="ui")]
    assert refused(after, before, {**IMAGES, "cloudopshub-ui": ui}) == []


def test_an_image_neither_appears_nor_vanishes():
    """A container that had none is another container, wanted image or not."""
    without = deployment(str(NEW))
    del without["spec"]["template"]["spec"]["containers"][0]["image"]
    for before, after in ((without, deployment(str(NEW))), (deployment(), without)):
        assert any("containers[das].image" in line for line in refused([after], [before]))


def test_a_placeholder_gives_way_where_only_one_image_comes():
    """The first delivery replaces whatever stood there; with several, it must say its name."""
    before = [deployment("placeholder.invalid/nothing:none-yet")]
    before[0]["spec"]["template"]["spec"]["containers"].pop()
    after = [with_image(deployment(str(NEW)), str(NEW))]
    after[0]["spec"]["template"]["spec"]["containers"].pop()
    assert refused(after, before) == []
    ui = ImageRef("registry.example/cloudopshub-ui", "42-5e6f7a8b")
    found = refused(after, before, {**IMAGES, "cloudopshub-ui": ui})
    assert "not an image this edit is about" in found[0]


def test_what_the_configuration_lets_change_may_change():
    """A path, with * for anything; brackets are brackets."""
    after = deployment(str(NEW))
    after["metadata"]["labels"] = {"app.kubernetes.io/version": "42"}
    after["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "V", "value": "42"}]
    assert len(refused([after])) == 2
    allowed = ("metadata.labels", "spec.template.spec.containers[das].env*")
    assert refused([after], may_change=allowed) == []


def test_a_long_list_is_cut_short():
    """A rendering that is wholly different is told in a screenful."""
    found = refused([deployment(str(NEW), name=f"d{n}") for n in range(50)])
    assert len(found) == render_gate.SHOWN_MAX + 1
    assert found[-1] == "and 31 more"


LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
SPECS = st.dictionaries(
    st.text(min_size=1, max_size=5),
    st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3), max_leaves=8),
    max_size=5,
)


@given(before=SPECS, after=SPECS)
def test_only_equal_renderings_pass_without_an_image(before, after):
    """Whatever the objects hold: the gate is silent exactly when they are the same values."""
    found = render_gate.refusals([named("X", before)], [named("X", after)], Expected({}))
    is_same = repr(sorted(before.items())) == repr(sorted(after.items()))
    assert (found == []) == is_same


BY_DIGEST = f"registry.example/cloudopshub-das@{DIGEST}"
TAGGED = "registry.example/cloudopshub-das:41-1a2b3c4d"
TAG_ONLY = ImageRef("registry.example/cloudopshub-das", "42-5e6f7a8b")


def test_a_digest_alone_is_the_wanted_image():
    """Kustomize's `digest` and Bitnami's charts leave the tag out: the digest says it all."""
    before = [deployment("registry.example/cloudopshub-das@sha256:" + "0" * 64)]
    assert refused([deployment(BY_DIGEST)], before) == []
    other = BY_DIGEST.replace("aaaa", "bbbb")
    assert f"wanted is {NEW}" in refused([deployment(other)], before)[0]
    assert refused([deployment(BY_DIGEST)], before, {"cloudopshub-das": TAG_ONLY})


def tagged(tag, name="das", kind="Deployment", **more):
    """An object that says its tag in many places, as charts do."""
    item = deployment(f"registry.example/cloudopshub-das:{tag}", name)
    item["kind"] = kind
    item["metadata"]["labels"] = {"app.kubernetes.io/version": tag}
    item["spec"]["template"]["spec"]["containers"][0]["env"] = [
        {"name": "SENTRY_RELEASE", "value": f"das@{tag}"}
    ]
    return item | more


def test_a_tag_may_stand_wherever_a_chart_puts_it():
    """A label, a variable, a ConfigMap: pinned by the tag alone they change with it, and work."""
    pair = [
        [
            tagged(tag),
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "c"},
                "data": {"version": f"v: {tag}\n"},
            },
        ]
        for tag in ("41-1a2b3c4d", "42-5e6f7a8b")
    ]
    assert refused(pair[1], pair[0], {"cloudopshub-das": TAG_ONLY}) == []
    more = [tagged("42-5e6f7a8b", data="other"), pair[1][1]]
    assert len(refused(more, pair[0], {"cloudopshub-das": TAG_ONLY})) == 1


def test_a_tag_in_a_selector_is_refused():
    """The selector of a Deployment that runs is immutable: the sync would fail."""
    pair = [
        [
            deployment(
                f"registry.example/cloudopshub-das:{tag}", selector={"matchLabels": {"v": tag}}
            )
        ]
        for tag in ("41-1a2b3c4d", "42-5e6f7a8b")
    ]
    (line,) = refused(pair[1], pair[0], {"cloudopshub-das": TAG_ONLY})
    assert "immutable" in line


def test_a_digest_in_a_label_is_refused_whatever_is_allowed():
    """Kubernetes takes no `@` and no 64 characters there; the setting that helps is named."""
    (line,) = [
        line
        for line in refused([tagged(NEW.pin)], [tagged("41-1a2b3c4d")], may_change=["*"])
        if "version" in line
    ]
    assert "a label holds at most 63" in line
    assert 'pin = "tag"' in line


@pytest.mark.parametrize("name", ["migrate-41-1a2b3c4d", "41-1a2b3c4d-migrate"])
def test_a_job_named_by_its_tag_is_the_same_one(name):
    """One object became another of its kind; its template may change, for it is made anew."""
    jobs = [
        named(
            "Job",
            {"template": with_image(POD, f"registry.example/cloudopshub-das:{tag}")},
            name.replace("41-1a2b3c4d", tag),
        )
        for tag in ("41-1a2b3c4d", "42-5e6f7a8b")
    ]
    for job, tag in zip(jobs, ("41-1a2b3c4d", "42-5e6f7a8b"), strict=True):
        job["metadata"]["labels"] = {"run": tag}
    assert refused([jobs[1]], [jobs[0]], {"cloudopshub-das": TAG_ONLY}) == []
    other = {**jobs[1], "metadata": {"name": "another"}}
    assert len(refused([other], [jobs[0]], {"cloudopshub-das": TAG_ONLY})) == 2


def test_what_each_rendering_makes_anew_is_said_to_be_so():
    """A random password is no fault of the edit; the field is named, and what allows it."""

    def secret(value):
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "s"},
            "data": {"p": value},
        }

    before, after, again = (
        [deployment(image), secret(value)]
        for image, value in ((OLD, "a"), (str(NEW), "b"), (str(NEW), "c"))
    )
    unstable = render_gate.unstable(after, again)
    assert unstable == {("Secret s", "data.p")}
    (line,) = refused(after, before, unstable=unstable)
    assert line.startswith("Secret s: data.p is another at each rendering")
    assert "may_change" in line
    assert refused(after, before, unstable=unstable, may_change=["data.p"]) == []


def test_an_image_that_is_read_elsewhere_is_not_asked_of_the_rendering():
    """A file of tags that an Application reads: nothing changes here, or a part of the image."""
    elsewhere = {"read_elsewhere": {"cloudopshub-das"}}
    assert refused([deployment()], **elsewhere) == []
    application = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": "das"},
        "spec": {"source": {"helm": {"parameters": [{"name": "image.tag", "value": "41"}]}}},
    }
    edited = copy.deepcopy(application)
    edited["spec"]["source"]["helm"]["parameters"][0]["value"] = NEW.pin
    assert refused([edited], [application], **elsewhere) == []
    assert refused([edited], [application])
    edited["spec"]["source"]["helm"]["parameters"][0]["value"] = "something else"
    assert refused([edited], [application], **elsewhere)

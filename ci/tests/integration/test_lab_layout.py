"""`make pipeline` has a manifest repository for the layouts that ci.toml can tell of."""

import os
import re

import pytest
from listed_services import configured

from ci import catalogue, config
from ci.context import from_environment
from ci.errors import OutsideFault, Refused
from ci.scaffold.commands import check
from ci.tests.lab import layout
from ci.tools import helm as helm_module

LISTED = catalogue.load()


def delivery(target, render):
    """The tests' own ci.toml with another target and another rendering."""
    text = configured(LISTED.services)
    text = re.sub(r"(?m)^target = .*$", f"target = {target}", text)
    before, after = text.split("[manifests.render]", 1)
    rest = after[after.index("[[environment]]") :]
    return config.parse(f"{before}[manifests.render]\n{render}\n\n{rest}", {})


@pytest.mark.parametrize(
    ("target", "render"),
    [
        pytest.param(
            '{ file = "charts/{code}/values.yaml", key = "image" }',
            'tool = "helm"\nchart = "charts/{code}"',
            id="a chart each, its own values",
        ),
        pytest.param(
            '{ file = "{environment}.yaml", key = "{code}.image" }',
            'tool = "helm"\nchart = "hub"\nvalues = ["{environment}.yaml"]',
            id="an umbrella",
        ),
        pytest.param(
            '{ file = "{environment}/{code}/kustomization.yaml", key = "images[name={image}]" }',
            'tool = "kustomize"\npath = "{environment}/{code}"',
            id="kustomize",
        ),
        pytest.param(
            '{ file = "tags/{environment}.yaml", key = "services.{code}" }',
            'tool = "none"',
            id="a tag store",
        ),
    ],
)
def test_a_layout_that_ci_toml_tells_of_is_written_and_valid(tmp_path, target, render):
    """Every target is there, and what renders renders."""
    try:
        helm = helm_module.find(from_environment(LISTED).cache_dir, os.environ)
    except OutsideFault as fault:
        pytest.skip(f"no Helm on this machine: {fault}")
    wanted = delivery(target, render)
    layout.write(tmp_path, wanted, LISTED)
    objects, faults = check(tmp_path, wanted, LISTED, helm)
    assert faults == []
    assert (objects > 0) is (wanted.manifests.render.tool != "none")


@pytest.mark.parametrize(
    ("target", "render"),
    [
        ('{ file = "{code}.yaml", key = "list[0].image" }', 'tool = "none"'),
        (
            '{ file = "x/{code}.yaml", key = "images[name=a]" }',
            'tool = "kustomize"\npath = "{code}"',
        ),
    ],
)
def test_one_that_is_not_known_is_refused_by_name(tmp_path, target, render):
    """With the exit code of a rule: trying again will not help."""
    with pytest.raises(Refused) as refused:
        layout.write(tmp_path, delivery(target, render), LISTED)
    assert refused.value.exit_code == 3

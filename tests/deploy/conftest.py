"""One copy of the chart for all tests."""

import pytest

from tests.deploy.helm import Chart, Json
from tests.deploy.values import EVERYTHING


@pytest.fixture(scope="package")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Chart:
    return Chart(tmp_path_factory.mktemp("helm") / "runmesh")


@pytest.fixture(scope="package")
def everything(chart: Chart) -> list[Json]:
    return chart.render(EVERYTHING)

"""How the table of prices is told from tables that mix products, and that it holds what was read by hand."""

import json
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools" / "prices"))

import make_prices  # noqa: E402
import observed  # noqa: E402

SIZES = ["medium", "large", "xlarge", "2xlarge", "4xlarge", "8xlarge"]
WEIGHTS = {size: make_prices.units(size) for size in SIZES}
LARGE = 0.1008


def prices(**factors):
    """The list price of each size, times what is said of it."""
    return {size: LARGE * WEIGHTS[size] / 16 * factors.get(f"x{size}", 1) for size in SIZES}


def found(table):
    unit = make_prices.list_price(table, WEIGHTS)
    return None if unit is None else round(unit * 16, 6)


def test_sizes_in_proportion_tell_the_price():
    assert found(prices()) == LARGE


def test_the_price_of_a_dedicated_instance_is_not_taken():
    assert found(prices(xlarge=1.1, x2xlarge=1.1)) == LARGE
    # One size at the list price, and the rest dearer by one factor.
    assert found({size: price * (1 if size == "large" else 1.1) for size, price in prices().items()}) == LARGE


def test_too_few_sizes_tell_nothing():
    three = dict(list(prices().items())[:3])
    assert found(three) is None
    assert found({}) is None


def test_a_price_that_no_surcharge_explains_tells_nothing():
    assert found(prices(x8xlarge=2)) is None


@pytest.mark.parametrize(
    ("size", "sixteenths"), [("nano", 1), ("large", 16), ("xlarge", 32), ("48xlarge", 1536), ("metal", None)]
)
def test_a_size_is_so_much_of_a_large(size, sixteenths):
    assert make_prices.units(size) == sixteenths


@pytest.mark.parametrize(
    ("name", "commercial"),
    [("eu-central-1", True), ("us-gov-west-1", False), ("us-west-2-lax-1", False), ("cn-north-1", False)],
)
def test_only_commercial_regions_are_kept(name, commercial):
    assert bool(make_prices.REGION.fullmatch(name)) == commercial


def test_the_table_holds_what_was_read_by_hand():
    book = json.loads((ROOT / "src" / "policy" / "price" / "prices.json").read_text())
    linux = {family: entry["linux"] for family, entry in book["families"].items()}
    for family, price in observed.VIRGINIA.items():
        assert linux[family]["us-east-1"] == make_prices.micro(price), family
    for family, regions in observed.REGIONS.items():
        assert linux[family] == {region: make_prices.micro(price) for region, price in regions.items()}, family
    volumes = {
        kind: {r: make_prices.micro(p) for r, p in prices.items()} for kind, prices in observed.VOLUMES.items()
    }
    assert book["volumes"] == volumes
    assert book["sources"] == observed.SOURCES

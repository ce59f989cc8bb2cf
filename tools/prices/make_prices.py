#!/usr/bin/env python3
"""Writes src/policy/price/prices.json. Needs no network: it reads the wheel or the folder of apache-libcloud.

    pip download --no-deps apache-libcloud==3.9.1
    python tools/prices/make_prices.py apache_libcloud-3.9.1-py3-none-any.whl

That package keeps, for each type and region, the price of the last product of Amazon's list that it met:
the list price, the price of a dedicated instance (up to 13 % more), or 0 for a reservation. The
list price is what is left when a family's sizes are compared: they cost in proportion, so the lowest price
per unit that several sizes share is it. What cannot be told that way is left out: price unknown.
"""

import collections
import json
import pathlib
import re
import sys
import zipfile

import observed

OUT = pathlib.Path(__file__).parents[2] / "src" / "policy" / "price" / "prices.json"
# Current families that builds run on; accelerators for training, bare metal and the like are left out.
FAMILY = re.compile(r"[cmr][5-8][a-z]*(-flex)?|i[3478][a-z]*|im4gn|is4gen|t3|t3a|t4g|" + "|".join(observed.GPU))
# A commercial region, not a zone of its own, nor China or a government's.
REGION = re.compile(r"(af|ap|ca|eu|il|me|mx|sa|us)-(north|south|east|west|central|northeast|southeast)-\d")
SIXTEENTHS = {"nano": 1, "micro": 2, "small": 4, "medium": 8, "large": 16, "xlarge": 32}
# The same price per unit: what rounding to four digits does to a size of several cents.
SAME = 0.004
# A dedicated instance costs this much more, at the most.
DEDICATED = 1.14


def units(size):
    """How much of a `.large` a size is, in sixteenths; None for bare metal."""
    if size in SIXTEENTHS:
        return SIXTEENTHS[size]
    number = re.fullmatch(r"(\d+)xlarge", size)
    return int(number[1]) * 32 if number else None


def micro(dollars):
    return round(dollars * 1_000_000)


def read(path):
    """The package's two tables, family by family: {family: {size: {region: dollars}}}."""
    name = "libcloud/data/pricing.json"
    path = pathlib.Path(path)
    text = (path / name).read_text() if path.is_dir() else zipfile.ZipFile(path).read(name).decode()
    tables = json.loads(text)["compute"]
    families = []
    for table in (tables["ec2_linux"], tables["ec2_windows"]):
        by_family = collections.defaultdict(dict)
        for kind, prices in table.items():
            family, _, size = kind.partition(".")
            if FAMILY.fullmatch(family) and units(size):
                by_family[family][size] = {r: p for r, p in prices.items() if p and REGION.fullmatch(r)}
        families.append(by_family)
    return families


def list_price(prices, weights):
    """The dollars per unit of weight that several sizes agree on, or None."""
    each = sorted((price / weights[size], weights[size]) for size, price in prices.items() if size in weights)
    if not each:
        return None
    lowest = [(unit, weight) for unit, weight in each if unit <= each[0][0] * (1 + SAME)]
    dearer = [unit / each[0][0] for unit, _ in each[len(lowest) :]]
    # A dearer product beside it tells the list price; else only chance could make all of four sizes dearer.
    shared = len(dearer) >= 2 and dearer[-1] < dearer[0] * (1 + SAME)
    told = len(lowest) >= 4 or (dearer and len(lowest) >= 2) or shared
    if not told or any(unit > DEDICATED for unit in dearer):
        return None
    return max(lowest, key=lambda pair: pair[1])[0]


def by_region(sizes, weights):
    regions = collections.defaultdict(dict)
    for size, prices in sizes.items():
        for region, price in prices.items():
            regions[region][size] = price
    units_of = {region: list_price(prices, weights) for region, prices in sorted(regions.items())}
    return {region: unit for region, unit in units_of.items() if unit}


def windows_fees(linux, windows, family):
    """What Windows costs beside Linux, in dollars by size: the surcharge that most regions show."""
    fees = {}
    for size, prices in windows.get(family, {}).items():
        extra = [round(price - linux[size].get(region, price), 4) for region, price in prices.items()]
        seen = collections.Counter(fee for fee in extra if fee > 0.004)
        if seen and seen.most_common(1)[0][1] >= 2:
            fees[size] = seen.most_common(1)[0][0]
    return fees


def fee_for_all(fees, sizes, family):
    """The surcharge is by processor; burstable sizes have their own, found size by size."""
    if family in ("t3", "t3a"):
        return {size: fees[size] for size in sizes if size in fees}
    rates = collections.Counter(round(fee / units(size) * 16, 4) for size, fee in fees.items())
    if not rates:
        return {}
    rate, votes = rates.most_common(1)[0]
    return {size: rate * units(size) / 16 for size in sizes} if votes >= 2 else {}


def family_entry(family, linux, windows):
    sizes = observed.SIZES.get(family) or sorted(linux.get(family, {}), key=units)
    if family in observed.GPU:
        sizes = list(observed.GPU[family])
        weights = {size: micro(price) for size, price in observed.GPU[family].items()}
    else:
        weights = {size: units(size) for size in sizes}
    # The rate is the price of this size: `.large`, or the smallest of a family that has none.
    reference = "large" if "large" in weights else sizes[0]
    if family in observed.REGIONS:
        rates = {region: micro(price) for region, price in observed.REGIONS[family].items()}
    else:
        found = by_region(linux.get(family, {}), weights)
        rates = {region: micro(unit * weights[reference]) for region, unit in found.items()}
    if family in observed.GPU:
        rates["us-east-1"] = weights[reference]
    elif family in observed.VIRGINIA:
        known = micro(observed.VIRGINIA[family])
        if abs(rates.get("us-east-1", known) - known) > known * 0.002:
            sys.exit(f"{family}.large in us-east-1: found {rates['us-east-1']}, known {known}")
        rates["us-east-1"] = known
    fees = fee_for_all(windows_fees(linux[family], windows, family), sizes, family) if family in linux else {}
    return {
        "reference": reference,
        "weights": weights,
        "linux": dict(sorted(rates.items())),
        "windows": {size: micro(fee) for size, fee in fees.items()},
    }


def main():
    linux, windows = read(sys.argv[1])
    names = sorted(set(linux) | set(observed.SIZES) | set(observed.GPU))
    families = {name: family_entry(name, linux, windows) for name in names}
    book = {
        "about": "Micro-dollars, made by tools/prices/make_prices.py. A type costs its region's rate, which is "
        "that of the reference size, times its weight over the reference size's weight; Windows is added by size.",
        "as_of": observed.SOURCES[0]["as_of"],
        "sources": observed.SOURCES,
        "families": {name: entry for name, entry in families.items() if entry["linux"]},
        "volumes": {kind: {r: micro(p) for r, p in prices.items()} for kind, prices in observed.VOLUMES.items()},
        "snapshots": {region: micro(price) for region, price in observed.SNAPSHOTS.items()},
        "ipv4_hour": micro(observed.IPV4_HOUR),
    }
    text = json.dumps(book, indent=1)
    # One line for each table of numbers: readable in a diff, and half the size.
    text = re.sub(r"\{\s+(\"[\w-]+\": \d[^{}]*?)\s+\}", lambda m: "{" + re.sub(r"\s+", " ", m[1]) + "}", text)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(text + "\n")
    prices = sum(len(entry["weights"]) * len(entry["linux"]) for entry in book["families"].values())
    print(f"{OUT}: {len(book['families'])} families, {prices} prices, {len(text)} bytes")


if __name__ == "__main__":
    main()

"""Prices read by hand from public tables, in US dollars: what the package that make_prices.py reads
does not know, or knows less well. Facts only; `SOURCES` says where from and when."""

SOURCES = [
    {
        "what": "instance hours, all families that have no newer entry",
        "from": "apache-libcloud 3.9.1, libcloud/data/pricing.json, ec2_linux and ec2_windows",
        "licence": "Apache-2.0",
        "as_of": "2025-03-02",
    },
    {
        "what": "instance hours in us-east-1 of the families of 2025, and the check of all others there",
        "from": "aws/karpenter-provider-aws, zz_generated.pricing_aws.go",
        "licence": "Apache-2.0",
        "as_of": "2026-02-09",
    },
    {
        "what": "instance hours in other regions of c7i, m7i and the eighth generation",
        "from": "skypilot-org/skypilot-catalog, catalogs/v8/aws/vms.csv, commit 00148f2af367",
        "licence": "Apache-2.0",
        "as_of": "2026",
        "note": "the file has no date; by the types it lists it is of early 2026",
    },
    {
        "what": "volumes, by GiB-month",
        "from": "Amazon's EBS price page as two public programs quote it, the newer of 2021-07-14",
        "licence": "facts of price",
        "as_of": "2021-07-14",
        "note": "excerpts of Amazon's price list from 2024 to 2026 agree, for gp3 in seven regions",
    },
    {
        "what": "snapshots, by GiB-month",
        "from": "quotations of Amazon's price list and of bills in public repositories",
        "licence": "facts of price",
        "as_of": "2023-08-01",
    },
    {
        "what": "public IPv4 addresses",
        "from": "Amazon's VPC price page: $0.005 per hour in every region since 2024-02-01",
        "licence": "facts of price",
        "as_of": "2024-02-01",
    },
]

# The price of a `.large` in us-east-1, at the second source's date. Every family must agree with it.
VIRGINIA = {
    "c5": 0.085, "c5a": 0.077, "c5ad": 0.086, "c5d": 0.096, "c5n": 0.108,
    "c6a": 0.0765, "c6g": 0.068, "c6gd": 0.0768, "c6gn": 0.0864, "c6i": 0.085, "c6id": 0.1008, "c6in": 0.1134,
    "c7a": 0.10264, "c7g": 0.0725, "c7gd": 0.09072, "c7gn": 0.1248, "c7i": 0.08925, "c7i-flex": 0.0847875,
    "c8a": 0.10777, "c8g": 0.07976, "c8gb": 0.1185, "c8gd": 0.09798, "c8gn": 0.1185,
    "c8i": 0.09371, "c8i-flex": 0.08902, "c8id": 0.11088,
    "i3": 0.156, "i3en": 0.226, "i4g": 0.15444, "i4i": 0.1716, "i7i": 0.18876, "i7ie": 0.2599,
    "i8g": 0.1716, "i8ge": 0.2373, "im4gn": 0.1819, "is4gen": 0.28815,
    "m5": 0.096, "m5a": 0.086, "m5ad": 0.103, "m5d": 0.113, "m5dn": 0.136, "m5n": 0.119, "m5zn": 0.16517,
    "m6a": 0.0864, "m6g": 0.077, "m6gd": 0.0904, "m6i": 0.096, "m6id": 0.11865, "m6idn": 0.15912, "m6in": 0.13923,
    "m7a": 0.11592, "m7g": 0.0816, "m7gd": 0.10678, "m7i": 0.1008, "m7i-flex": 0.09576,
    "m8a": 0.12172, "m8g": 0.08976, "m8gb": 0.1455, "m8gd": 0.11532, "m8gn": 0.1455,
    "m8i": 0.10584, "m8i-flex": 0.10055, "m8id": 0.13052,
    "r5": 0.126, "r5a": 0.113, "r5ad": 0.131, "r5b": 0.149, "r5d": 0.144, "r5dn": 0.167, "r5n": 0.149,
    "r6a": 0.1134, "r6g": 0.1008, "r6gd": 0.1152, "r6i": 0.126, "r6id": 0.1512, "r6idn": 0.19539, "r6in": 0.17433,
    "r7a": 0.15215, "r7g": 0.1071, "r7gd": 0.13608, "r7i": 0.1323, "r7iz": 0.186,
    "r8a": 0.15976, "r8g": 0.11782, "r8gb": 0.18218, "r8gd": 0.14696, "r8gn": 0.18218,
    "r8i": 0.13892, "r8i-flex": 0.13197, "r8id": 0.16632,
    "t3": 0.0832, "t3a": 0.0752, "t4g": 0.0672,
}  # fmt: skip

# Families whose sizes cost other than in proportion: each size in us-east-1, at the same date.
GPU = {
    "g4ad": {"xlarge": 0.37853, "2xlarge": 0.54117, "4xlarge": 0.867, "8xlarge": 1.734, "16xlarge": 3.468},
    "g4dn": {"xlarge": 0.526, "2xlarge": 0.752, "4xlarge": 1.204, "8xlarge": 2.176, "12xlarge": 3.912,
             "16xlarge": 4.352},
    "g5": {"xlarge": 1.006, "2xlarge": 1.212, "4xlarge": 1.624, "8xlarge": 2.448, "12xlarge": 5.672,
           "16xlarge": 4.096, "24xlarge": 8.144, "48xlarge": 16.288},
    "g5g": {"xlarge": 0.42, "2xlarge": 0.556, "4xlarge": 0.828, "8xlarge": 1.372, "16xlarge": 2.744},
    "g6": {"xlarge": 0.8048, "2xlarge": 0.9776, "4xlarge": 1.3232, "8xlarge": 2.0144, "12xlarge": 4.6016,
           "16xlarge": 3.3968, "24xlarge": 6.6752, "48xlarge": 13.3504},
    "g6e": {"xlarge": 1.861, "2xlarge": 2.24208, "4xlarge": 3.00424, "8xlarge": 4.52856, "12xlarge": 10.49264,
            "16xlarge": 7.57719, "24xlarge": 15.06559, "48xlarge": 30.13118},
}  # fmt: skip

_GRAVITON = [
    "medium",
    "large",
    "xlarge",
    "2xlarge",
    "4xlarge",
    "8xlarge",
    "12xlarge",
    "16xlarge",
    "24xlarge",
    "48xlarge",
]  # noqa: E501
_INTEL = [
    "large",
    "xlarge",
    "2xlarge",
    "4xlarge",
    "8xlarge",
    "12xlarge",
    "16xlarge",
    "24xlarge",
    "32xlarge",
    "48xlarge",
    "96xlarge",
]  # noqa: E501
_FLEX = ["large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge"]
_STORAGE = ["large", "xlarge", "2xlarge", "3xlarge", "6xlarge", "12xlarge", "18xlarge", "24xlarge", "48xlarge"]

# The sizes of the families that the package does not know, at the second source's date.
SIZES = {
    "c8a": _GRAVITON, "m8a": _GRAVITON, "r8a": _GRAVITON,
    "c8g": _GRAVITON, "m8g": _GRAVITON, "r8g": _GRAVITON,
    "c8gb": _GRAVITON, "m8gb": _GRAVITON, "r8gb": _GRAVITON,
    "c8gd": _GRAVITON, "m8gd": _GRAVITON, "r8gd": _GRAVITON,
    "c8gn": _GRAVITON, "m8gn": _GRAVITON, "r8gn": _GRAVITON,
    "c8i": _INTEL, "m8i": _INTEL, "r8i": _INTEL, "c8id": _INTEL, "m8id": _INTEL, "r8id": _INTEL,
    "c8i-flex": _FLEX, "m8i-flex": _FLEX, "r8i-flex": _FLEX,
    "i7i": ["large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge", "48xlarge"],
    "i8ge": _STORAGE,
}  # fmt: skip

# The price of a `.large` by region, from the third source; where a family is here, the package is not asked.
REGIONS = {
    "c7i": {
        "ap-east-1": 0.1134, "ap-northeast-1": 0.11235, "ap-northeast-2": 0.1008, "ap-northeast-3": 0.11235,
        "ap-south-1": 0.08925, "ap-southeast-1": 0.1029, "ap-southeast-2": 0.11655, "ap-southeast-3": 0.1029,
        "ap-southeast-4": 0.11655, "ca-central-1": 0.09765, "eu-central-1": 0.10185, "eu-north-1": 0.09555,
        "eu-south-2": 0.09575, "eu-west-1": 0.09576, "eu-west-2": 0.10605, "eu-west-3": 0.10605,
        "me-central-1": 0.10725, "us-east-1": 0.08925, "us-east-2": 0.08925, "us-west-1": 0.1113,
        "us-west-2": 0.08925,
    },
    "m7i": {
        "ap-east-1": 0.1386, "ap-northeast-1": 0.1302, "ap-northeast-2": 0.1239, "ap-northeast-3": 0.1302,
        "ap-south-1": 0.10605, "ap-southeast-1": 0.126, "ap-southeast-2": 0.126, "ap-southeast-3": 0.126,
        "ap-southeast-4": 0.126, "ca-central-1": 0.11235, "eu-central-1": 0.12075, "eu-north-1": 0.1071,
        "eu-south-1": 0.1176, "eu-south-2": 0.11235, "eu-west-1": 0.11235, "eu-west-2": 0.11655,
        "eu-west-3": 0.1176, "me-central-1": 0.12359, "us-east-1": 0.1008, "us-east-2": 0.1008,
        "us-west-1": 0.1176, "us-west-2": 0.1008,
    },
    "c8a": {"eu-south-2": 0.11561, "us-east-1": 0.10777, "us-east-2": 0.10777, "us-west-2": 0.10777},
    "m8a": {
        "ap-northeast-1": 0.15722, "eu-south-2": 0.13566, "us-east-1": 0.12172, "us-east-2": 0.12172,
        "us-west-2": 0.12172,
    },
    "r8a": {"us-east-1": 0.15976, "us-east-2": 0.15976, "us-west-2": 0.15976},
    "c8g": {
        "ap-east-1": 0.1001, "ap-northeast-1": 0.10006, "ap-northeast-2": 0.08976, "ap-northeast-3": 0.10004,
        "ap-south-1": 0.05398, "ap-southeast-1": 0.09164, "ap-southeast-2": 0.1038, "ap-southeast-3": 0.09163,
        "ap-southeast-4": 0.10378, "ca-central-1": 0.08696, "eu-central-1": 0.0907, "eu-north-1": 0.0851,
        "eu-south-1": 0.09422, "eu-south-2": 0.08526, "eu-west-1": 0.08528, "eu-west-2": 0.09444,
        "us-east-1": 0.07976, "us-east-2": 0.07948, "us-west-1": 0.09912, "us-west-2": 0.07976,
    },
    "m8g": {
        "ap-east-1": 0.12342, "ap-northeast-1": 0.11594, "ap-northeast-2": 0.11034, "ap-northeast-3": 0.11594,
        "ap-south-1": 0.06416, "ap-southeast-1": 0.1122, "ap-southeast-2": 0.1122, "ap-southeast-3": 0.1122,
        "ap-southeast-4": 0.1122, "ca-central-1": 0.10006, "eu-central-1": 0.10754, "eu-north-1": 0.09538,
        "eu-south-2": 0.09998, "eu-west-1": 0.10004, "eu-west-2": 0.1038, "eu-west-3": 0.10472,
        "me-central-1": 0.11004, "me-south-1": 0.12342, "us-east-1": 0.08976, "us-east-2": 0.08976,
        "us-west-1": 0.10472, "us-west-2": 0.08976,
    },
    "r8g": {
        "ap-east-1": 0.1562, "ap-northeast-1": 0.14212, "ap-northeast-2": 0.14212, "ap-northeast-3": 0.14212,
        "ap-south-1": 0.08258, "ap-southeast-1": 0.14212, "ap-southeast-2": 0.1412, "ap-southeast-3": 0.14212,
        "ap-southeast-4": 0.1412, "ca-central-1": 0.12904, "eu-central-1": 0.14212, "eu-north-1": 0.12529,
        "eu-south-2": 0.13178, "eu-west-1": 0.13184, "eu-west-2": 0.13838, "eu-west-3": 0.13838,
        "us-east-1": 0.11782, "us-east-2": 0.11782, "us-west-1": 0.1309, "us-west-2": 0.11782,
    },
    "m8gd": {
        "ap-northeast-1": 0.149, "ap-southeast-2": 0.14492, "ca-central-1": 0.1286, "eu-central-1": 0.1388,
        "eu-south-2": 0.1286, "eu-west-2": 0.1337, "us-east-1": 0.11532, "us-east-2": 0.11532,
        "us-west-2": 0.11532,
    },
    "c8gn": {
        "af-south-1": 0.1593, "ap-south-1": 0.1185, "ap-southeast-1": 0.13605, "ap-southeast-2": 0.1547,
        "eu-central-1": 0.13495, "eu-north-1": 0.1273, "eu-west-1": 0.13385, "eu-west-2": 0.14045,
        "me-central-1": 0.14715, "us-east-1": 0.1185, "us-east-2": 0.1185, "us-west-1": 0.1481,
        "us-west-2": 0.1185,
    },
    "c8i": {
        "ap-northeast-1": 0.11797, "ap-northeast-2": 0.10584, "ap-south-1": 0.09371, "ap-southeast-1": 0.10805,
        "ap-southeast-2": 0.12238, "eu-central-1": 0.10694, "eu-south-2": 0.10054, "eu-west-2": 0.11135,
        "us-east-1": 0.09371, "us-east-2": 0.09371, "us-west-2": 0.09371,
    },
    "c8i-flex": {
        "ap-northeast-1": 0.11207, "ap-northeast-2": 0.10055, "ap-south-1": 0.08902, "ap-southeast-1": 0.10265,
        "ap-southeast-2": 0.11626, "eu-central-1": 0.10159, "eu-south-2": 0.09551, "us-east-1": 0.08902,
        "us-east-2": 0.08902, "us-west-2": 0.08902,
    },
    "m8i": {
        "ap-northeast-1": 0.13671, "ap-northeast-2": 0.13009, "ap-south-1": 0.11135, "ap-southeast-1": 0.1323,
        "ap-southeast-2": 0.1323, "ca-central-1": 0.11797, "eu-central-1": 0.12679, "eu-south-2": 0.11797,
        "us-east-1": 0.10584, "us-east-2": 0.10584, "us-west-2": 0.10584,
    },
    "m8i-flex": {
        "ap-south-1": 0.10579, "ap-southeast-2": 0.12569, "eu-south-2": 0.11207, "us-east-1": 0.10055,
        "us-east-2": 0.10055, "us-west-2": 0.10055,
    },
    "r8i": {
        "ap-northeast-1": 0.16758, "ap-northeast-2": 0.16758, "ap-south-1": 0.14333, "ap-southeast-1": 0.16758,
        "ap-southeast-2": 0.16648, "ca-central-1": 0.15215, "eu-central-1": 0.16758, "eu-south-2": 0.15545,
        "eu-west-2": 0.16317, "eu-west-3": 0.16317, "us-east-1": 0.13892, "us-east-2": 0.13892,
        "us-west-1": 0.15435, "us-west-2": 0.13892,
    },
    "r8i-flex": {
        "ap-northeast-1": 0.1592, "ap-northeast-2": 0.1592, "ap-south-1": 0.13616, "ap-southeast-1": 0.1592,
        "ap-southeast-2": 0.15816, "ca-central-1": 0.14454, "eu-central-1": 0.1592, "eu-south-2": 0.14768,
        "eu-west-2": 0.15501, "eu-west-3": 0.15501, "us-east-1": 0.13197, "us-east-2": 0.13197,
        "us-west-1": 0.14663, "us-west-2": 0.13197,
    },
    "i8g": {
        "ap-south-1": 0.1947, "ap-southeast-2": 0.2057, "ca-central-1": 0.1891, "eu-central-1": 0.2046,
        "eu-south-2": 0.1891, "eu-west-1": 0.1891, "us-east-1": 0.1716, "us-east-2": 0.1716, "us-west-2": 0.1716,
    },
    "i8ge": {"eu-central-1": 0.2835, "us-east-1": 0.2373, "us-east-2": 0.2373, "us-west-2": 0.2373},
    "r7iz": {
        "ap-northeast-1": 0.227, "eu-central-1": 0.225, "eu-west-1": 0.208, "us-east-1": 0.186,
        "us-east-2": 0.186, "us-west-2": 0.186,
    },
}  # fmt: skip

# Volumes by GiB-month. `io2` is left out where the source shows the price of an I/O operation instead.
_COLUMNS = ("gp3", "gp2", "io1", "io2", "st1", "sc1", "standard")
_ROWS = {
    "af-south-1": (0.1047, 0.1309, 0.16422, None, 0.0595, 0.019992, None),
    "ap-east-1": (0.1056, 0.132, 0.1518, 0.1518, 0.0594, 0.0198, None),
    "ap-northeast-1": (0.096, 0.12, 0.142, 0.142, 0.054, 0.018, 0.08),
    "ap-northeast-2": (0.0912, 0.114, 0.1278, 0.1278, 0.051, 0.0174, 0.08),
    "ap-northeast-3": (0.096, 0.12, 0.142, None, 0.054, 0.018, None),
    "ap-south-1": (0.0912, 0.114, 0.131, 0.131, 0.051, 0.0174, 0.08),
    "ap-southeast-1": (0.096, 0.12, 0.138, 0.138, 0.054, 0.018, 0.08),
    "ap-southeast-2": (0.096, 0.12, 0.138, 0.138, 0.054, 0.018, 0.08),
    "ca-central-1": (0.088, 0.11, 0.138, None, 0.05, 0.0168, 0.055),
    "eu-central-1": (0.0952, 0.119, 0.149, 0.149, 0.054, 0.018, 0.059),
    "eu-north-1": (0.0836, 0.1045, 0.1311, 0.1311, 0.0475, 0.01596, None),
    "eu-south-1": (0.0924, 0.1155, 0.1449, None, 0.0525, 0.01764, None),
    "eu-west-1": (0.088, 0.11, 0.138, 0.138, 0.05, 0.0168, 0.055),
    "eu-west-2": (0.0928, 0.116, 0.145, 0.145, 0.053, 0.0174, 0.058),
    "eu-west-3": (0.0928, 0.116, 0.145, None, 0.053, 0.0174, None),
    "me-south-1": (0.0968, 0.121, 0.1518, 0.1518, 0.055, 0.01848, None),
    "sa-east-1": (0.152, 0.19, 0.238, None, 0.086, 0.0288, 0.12),
    "us-east-1": (0.08, 0.1, 0.125, 0.125, 0.045, 0.015, 0.05),
    "us-east-2": (0.08, 0.1, 0.125, 0.125, 0.045, 0.015, 0.05),
    "us-west-1": (0.096, 0.12, 0.138, 0.138, 0.054, 0.018, 0.08),
    "us-west-2": (0.08, 0.1, 0.125, 0.125, 0.045, 0.015, 0.05),
}
VOLUMES = {
    column: {region: row[at] for region, row in _ROWS.items() if row[at] is not None}
    for at, column in enumerate(_COLUMNS)
}

# Snapshots of the standard tier, by GiB-month.
SNAPSHOTS = {
    "ap-northeast-1": 0.05, "ap-northeast-2": 0.05, "ap-southeast-1": 0.05, "ap-southeast-2": 0.055,
    "eu-central-1": 0.054, "eu-west-1": 0.05, "eu-west-2": 0.053, "sa-east-1": 0.068, "us-east-1": 0.05,
    "us-west-1": 0.055, "us-west-2": 0.05,
}  # fmt: skip

IPV4_HOUR = 0.005

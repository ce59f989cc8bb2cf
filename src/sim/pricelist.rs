//! Amazon's list of prices, as far as the model has it: each type with what is easily taken for it.

use serde_json::{Value, json};

use super::types::{INSTANCE_TYPES, InstanceType};

/// What Windows costs beside Linux, in dollars per virtual CPU and hour.
const WINDOWS_VCPU: f64 = 0.046;
/// What a dedicated instance costs more.
const DEDICATED: f64 = 1.06;
/// When the list was published.
const PUBLISHED: &str = "2026-07-20T17:45:20Z";
/// Each region's prefix of usage types, where it has one.
const PREFIXES: [(&str, &str); 6] = [
    ("us-east-1", ""),
    ("us-east-2", "USE2-"),
    ("us-west-2", "USW2-"),
    ("eu-west-1", "EU-"),
    ("eu-central-1", "EUC1-"),
    ("ap-northeast-1", "APN1-"),
];

/// A product of a type.
struct Product<'a> {
    region: &'a str,
    kind: &'a InstanceType,
    windows: bool,
    software: &'a str,
    tenancy: &'a str,
    capacity: &'a str,
    licence: &'a str,
    operation: &'a str,
    dollars: f64,
}

/// Everything of a region that has each of these attributes, in order.
pub(super) fn products(region: &str, attributes: &[(&str, &str)]) -> Vec<Value> {
    let wanted = attributes.iter().find(|(name, _)| *name == "regionCode").map_or(region, |(_, value)| value);
    let all = INSTANCE_TYPES.iter().flat_map(|kind| of_type(wanted, kind));
    let fits = |product: &Value| {
        attributes.iter().all(|(name, value)| {
            let own = &product["product"]["attributes"][name];
            own.as_str().is_some_and(|own| own.eq_ignore_ascii_case(value))
        })
    };
    all.filter(fits).collect()
}

/// What the list has of a type: four that are billed as such, and their doubles.
fn of_type<'a>(region: &'a str, kind: &'a InstanceType) -> Vec<Value> {
    let plain = Product {
        region,
        kind,
        windows: false,
        software: "NA",
        tenancy: "Shared",
        capacity: "Used",
        licence: "No License required",
        operation: "RunInstances",
        dollars: kind.price,
    };
    let windows = kind.price + WINDOWS_VCPU * f64::from(kind.vcpus);
    let mut all = vec![
        Product { ..plain },
        Product { tenancy: "Dedicated", dollars: kind.price * DEDICATED, ..plain },
        Product { capacity: "UnusedCapacityReservation", ..plain },
        Product { capacity: "AllocatedCapacityReservation", dollars: 0.0, ..plain },
    ];
    if kind.architecture == "x86_64" {
        let licensed = Product { windows: true, operation: "RunInstances:0002", dollars: windows, ..plain };
        let own = Product { windows: true, operation: "RunInstances:0800", licence: "Bring your own license", ..plain };
        let sql = Product { software: "SQL Std", operation: "RunInstances:0006", dollars: windows * 4.0, ..licensed };
        all.extend([licensed, own, sql]);
    }
    all.iter().zip(0..).map(|(product, number)| product.shown(number)).collect()
}

impl Product<'_> {
    fn shown(&self, number: u32) -> Value {
        let Product { region, kind, .. } = self;
        let prefix = PREFIXES.iter().find(|(name, _)| name == region).map_or("SIM-", |(_, prefix)| prefix);
        let box_usage = match (self.tenancy, self.capacity) {
            ("Shared", "Used") => "BoxUsage",
            ("Shared", "UnusedCapacityReservation") => "UnusedBox",
            ("Shared", _) => "Reservation",
            _ => "DedicatedUsage",
        };
        let sku = format!("{}{number}", kind.name.replace(['.', '-'], "").to_ascii_uppercase());
        let (term, rate) = (format!("{sku}.JRTCKXETXF"), format!("{sku}.JRTCKXETXF.6YS6EN2CT7"));
        let system = if self.windows { "Windows" } else { "Linux" };
        json!({
            "product": {
                "productFamily": "Compute Instance",
                "sku": sku,
                "attributes": {
                    "servicecode": "AmazonEC2",
                    "regionCode": region,
                    "locationType": "AWS Region",
                    "instanceType": kind.name,
                    "operatingSystem": system,
                    "licenseModel": self.licence,
                    "preInstalledSw": self.software,
                    "tenancy": self.tenancy,
                    "capacitystatus": self.capacity,
                    "marketoption": "OnDemand",
                    "operation": self.operation,
                    "usagetype": format!("{prefix}{box_usage}:{}", kind.name),
                    "vcpu": kind.vcpus.to_string(),
                },
            },
            "serviceCode": "AmazonEC2",
            "terms": { "OnDemand": { term: {
                "sku": sku,
                "offerTermCode": "JRTCKXETXF",
                "effectiveDate": "2026-07-01T00:00:00Z",
                "termAttributes": {},
                "priceDimensions": { rate.clone(): {
                    "rateCode": rate,
                    "unit": "Hrs",
                    "beginRange": "0",
                    "endRange": "Inf",
                    "appliesTo": [],
                    "description": format!("{system} {} instance hour", kind.name),
                    "pricePerUnit": { "USD": format!("{:.10}", self.dollars) },
                } },
            } } },
            "version": "20260720174520",
            "publicationDate": PUBLISHED,
        })
    }
}

//! Which quota of EC2 an instance type counts against. Running instances are counted by their virtual
//! CPUs, in groups of families, apart for each market and region.

use crate::model::Market;

/// Families that share a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Group {
    /// What it is called.
    pub(super) name: &'static str,
    families: &'static [&'static str],
    on_demand: &'static str,
    spot: &'static str,
}

/// The groups, with the codes of their quotas in Service Quotas.
const GROUPS: [Group; 6] = [
    Group {
        name: "standard",
        families: &["a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"],
        on_demand: "L-1216C47A",
        spot: "L-34B43A08",
    },
    Group { name: "F", families: &["f"], on_demand: "L-74FC7D96", spot: "L-88CF9481" },
    Group { name: "G and VT", families: &["g", "gr", "vt"], on_demand: "L-DB2E81BA", spot: "L-3819A6DF" },
    Group { name: "Inf", families: &["inf"], on_demand: "L-1945791B", spot: "L-B5D1601B" },
    Group { name: "P", families: &["p"], on_demand: "L-417A185B", spot: "L-7212CCBC" },
    Group { name: "X", families: &["x"], on_demand: "L-7295265B", spot: "L-E3A00192" },
];

impl Group {
    /// The group of a type; none if we do not know it.
    pub(super) fn of(instance_type: &str) -> Option<&'static Group> {
        let family: String = instance_type.chars().take_while(char::is_ascii_lowercase).collect();
        GROUPS.iter().find(|group| group.families.contains(&family.as_str()))
    }

    /// The quota's code.
    pub(super) fn code(&self, market: Market) -> &'static str {
        match market {
            Market::OnDemand => self.on_demand,
            Market::Spot => self.spot,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_belong_to_the_group_of_their_family() {
        let name = |kind: &str| Group::of(kind).map(|group| group.name);
        for kind in ["m7i.large", "m7i-flex.large", "c7g.xlarge", "t3.micro", "im4gn.large", "z1d.large", "r5.24xlarge"]
        {
            assert_eq!(name(kind), Some("standard"), "{kind}");
        }
        assert_eq!(
            (name("g4dn.xlarge"), name("gr6.4xlarge"), name("vt1.3xlarge")),
            (name("g5.x"), name("g6.x"), name("g6.x"))
        );
        assert_eq!((name("inf2.xlarge"), name("p5.48xlarge")), (Some("Inf"), Some("P")));
        for kind in ["mac2.metal", "u-6tb1.metal", "hpc6a.48xlarge", "trn1.2xlarge", "", "7x"] {
            assert_eq!(name(kind), None, "{kind}");
        }
    }

    #[test]
    fn no_code_stands_twice() {
        let codes: std::collections::BTreeSet<_> =
            GROUPS.iter().flat_map(|group| [group.on_demand, group.spot]).collect();
        assert_eq!(codes.len(), GROUPS.len() * 2);
    }
}

//! Instance types that the simulated regions offer.

/// One type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InstanceType {
    /// Its name.
    pub name: &'static str,
    /// Its virtual CPUs, which the account's quota counts.
    pub vcpus: u32,
    /// Its memory in MiB.
    pub memory_mib: u32,
    /// `x86_64` or `arm64`.
    pub architecture: &'static str,
    /// Dollars per hour, Linux on-demand, us-east-1, as of 2026-07-20 (Karpenter's generated price table).
    pub price: f64,
}

impl InstanceType {
    /// Whether it is of the Nitro System; the oldest of the list is not.
    pub fn is_nitro(&self) -> bool {
        !self.name.starts_with("m1.")
    }

    /// Whether it can be hibernated: not those with a GPU, the oldest, and what has 150 GB of memory.
    pub fn hibernates(&self) -> bool {
        self.is_nitro() && !self.name.starts_with('g') && self.memory_mib < 150 * 1024
    }

    /// How it can boot.
    pub fn boot_modes(&self) -> &'static [&'static str] {
        match (self.is_nitro(), self.architecture) {
            (false, _) => &["legacy-bios"],
            (true, "arm64") => &["uefi"],
            (true, _) => &["legacy-bios", "uefi"],
        }
    }
}

const fn x86(name: &'static str, vcpus: u32, memory_mib: u32, price: f64) -> InstanceType {
    InstanceType { name, vcpus, memory_mib, architecture: "x86_64", price }
}

const fn arm(name: &'static str, vcpus: u32, memory_mib: u32, price: f64) -> InstanceType {
    InstanceType { name, vcpus, memory_mib, architecture: "arm64", price }
}

/// All of them.
pub const INSTANCE_TYPES: &[InstanceType] = &[
    // What a launch without a type gets.
    x86("m1.small", 1, 1740, 0.044),
    x86("t3.micro", 2, 1024, 0.0104),
    x86("t3.medium", 2, 4096, 0.0416),
    x86("t3.large", 2, 8192, 0.0832),
    x86("t3.xlarge", 4, 16384, 0.1664),
    x86("t3.2xlarge", 8, 32768, 0.3328),
    x86("t3a.large", 2, 8192, 0.0752),
    arm("t4g.small", 2, 2048, 0.0168),
    arm("t4g.large", 2, 8192, 0.0672),
    x86("c5.xlarge", 4, 8192, 0.17),
    x86("c5.2xlarge", 8, 16384, 0.34),
    x86("c5.4xlarge", 16, 32768, 0.68),
    x86("c6a.2xlarge", 8, 16384, 0.306),
    x86("c6a.4xlarge", 16, 32768, 0.612),
    x86("c6i.xlarge", 4, 8192, 0.17),
    x86("c6i.2xlarge", 8, 16384, 0.34),
    x86("c6i.4xlarge", 16, 32768, 0.68),
    arm("c7g.xlarge", 4, 8192, 0.145),
    arm("c7g.2xlarge", 8, 16384, 0.29),
    arm("c7g.4xlarge", 16, 32768, 0.58),
    x86("c7i.xlarge", 4, 8192, 0.1785),
    x86("c7i.2xlarge", 8, 16384, 0.357),
    x86("c7i.4xlarge", 16, 32768, 0.714),
    x86("c7a.2xlarge", 8, 16384, 0.41056),
    x86("c7a.4xlarge", 16, 32768, 0.82112),
    arm("c8g.2xlarge", 8, 16384, 0.31904),
    arm("c8g.4xlarge", 16, 32768, 0.63808),
    x86("m5.large", 2, 8192, 0.096),
    x86("m5.xlarge", 4, 16384, 0.192),
    x86("m6i.xlarge", 4, 16384, 0.192),
    x86("m6a.2xlarge", 8, 32768, 0.3456),
    arm("m7g.xlarge", 4, 16384, 0.1632),
    x86("m7i-flex.large", 2, 8192, 0.09576),
    x86("m7i.large", 2, 8192, 0.1008),
    x86("m7i.xlarge", 4, 16384, 0.2016),
    x86("m7a.2xlarge", 8, 32768, 0.46368),
    arm("m8g.xlarge", 4, 16384, 0.17952),
    x86("r7i.xlarge", 4, 32768, 0.2646),
    x86("g4dn.xlarge", 4, 16384, 0.526),
    x86("g5.xlarge", 4, 16384, 1.006),
    x86("g6.xlarge", 4, 16384, 0.8048),
];

/// The type of this name.
pub fn instance_type(name: &str) -> Option<&'static InstanceType> {
    INSTANCE_TYPES.iter().find(|one| one.name == name)
}

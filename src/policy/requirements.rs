//! `[requirements]`: what a machine must have before a worker on it is trusted. `latent doctor` checks it.

use std::fmt;
use std::str::FromStr;

use chrono::TimeDelta;

use super::key::REQUIREMENTS_KEYS;
use super::problem::Problems;
use super::reader::{Layer, Reader};

/// What the fleet asks of every machine that works for it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the key of the same name, documented in default.toml")]
pub struct Requirements {
    pub min_vcpus: u32,
    pub min_memory_mib: u32,
    pub min_root_gib: u32,
    pub outbound: Vec<Port>,
    pub max_ami_age: TimeDelta,
}

/// A port of some host elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Its number.
    pub number: u16,
}

/// What a port is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Port {
    /// A TCP port.
    pub fn tcp(number: u16) -> Self {
        Self { protocol: Protocol::Tcp, number }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        write!(f, "{protocol}/{}", self.number)
    }
}

/// A text that names no port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a protocol and a port")]
pub struct PortError;

impl FromStr for Port {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, PortError> {
        let (protocol, number) = text.split_once('/').ok_or(PortError)?;
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return Err(PortError),
        };
        match number.parse() {
            Ok(0) | Err(_) => Err(PortError),
            Ok(number) => Ok(Self { protocol, number }),
        }
    }
}

pub(super) fn requirements(layers: Vec<Layer<'_>>, problems: &mut Problems) -> Option<Requirements> {
    let mut reader = Reader::new(layers, REQUIREMENTS_KEYS, "requirements", problems);
    let (vcpus, memory, root) =
        (reader.count("min_vcpus"), reader.count("min_memory_mib"), reader.count("min_root_gib"));
    let age = reader.span("max_ami_age");
    let mut outbound = Vec::new();
    for text in reader.texts("outbound").unwrap_or_default() {
        match text.value.parse() {
            Ok(port) => outbound.push(port),
            Err(error) => reader.report(
                text.at,
                "outbound",
                Some(format!("{:?}", text.value)),
                error,
                "write it as \"tcp/443\" or \"udp/123\"",
            ),
        }
    }
    reader.finish();
    Some(Requirements {
        min_vcpus: vcpus?.value,
        min_memory_mib: memory?.value,
        min_root_gib: root?.value,
        outbound,
        max_ami_age: age?.value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_and_written_alike() {
        for text in ["tcp/443", "udp/123", "tcp/65535"] {
            assert_eq!(text.parse::<Port>().expect("a port").to_string(), text);
        }
        for bad in ["443", "tcp/0", "tcp/65536", "icmp/1", "tcp/", "tcp/-1", "/80", "tcp:80"] {
            assert_eq!(bad.parse::<Port>(), Err(PortError), "{bad}");
        }
    }
}

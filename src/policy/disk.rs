//! `block_devices` of an image manifest.

use super::key::BLOCK_DEVICE_KEYS;
use super::reader::{Located, Reader};
use crate::model::{BlockDevice, SnapshotId};

/// What says something of an EBS volume.
const EBS_KEYS: [&str; 8] =
    ["size_gib", "type", "encrypted", "snapshot", "iops", "throughput", "kms_key", "delete_on_termination"];

pub(super) fn read(reader: &mut Reader<'_, '_>) -> Vec<BlockDevice> {
    let mut devices: Vec<BlockDevice> = Vec::new();
    for layer in reader.tables("block_devices") {
        let mut below = reader.below(layer, BLOCK_DEVICE_KEYS, "block_devices");
        if let Some(device) = one(&mut below) {
            if devices.iter().any(|other| other.device == device.device) {
                let at = below.origin_of("device");
                below.report(
                    at,
                    "device",
                    Some(format!("{:?}", device.device)),
                    "is given twice",
                    "say all of it once",
                );
            }
            devices.push(device);
        }
        below.finish();
    }
    devices
}

fn one(reader: &mut Reader<'_, '_>) -> Option<BlockDevice> {
    let device = reader.text("device");
    let size_gib = reader.count("size_gib").map(|count| count.value);
    let volume_type = reader.choice("type").map(|word| word.value);
    let encrypted = reader.flag("encrypted").map(|flag| flag.value);
    let snapshot = reader.parsed::<SnapshotId>("snapshot").map(|id| id.value);
    let iops = reader.count("iops").map(|count| count.value);
    let throughput = reader.count("throughput").map(|count| count.value);
    let kms_key = reader.text("kms_key");
    let stays = reader.flag("delete_on_termination").is_some_and(|flag| !flag.value);
    let virtual_name = reader.text("virtual_name");
    let no_device = reader.flag("no_device");
    no_ebs(reader, virtual_name.as_ref(), no_device.as_ref());
    speed(reader, volume_type.as_deref());
    if let Some(key) = kms_key.as_ref().filter(|_| encrypted != Some(true)) {
        let (at, value) = (key.at.clone(), Some(format!("{:?}", key.value)));
        reader.report(at, "kms_key", value, "is given without encrypted = true", "add encrypted = true");
    }
    Some(BlockDevice {
        device: device?.value,
        size_gib,
        volume_type,
        encrypted,
        snapshot,
        iops,
        throughput,
        kms_key: kms_key.map(|key| key.value),
        delete_on_termination: !stays,
        virtual_name: virtual_name.map(|name| name.value),
        no_device: no_device.is_some_and(|flag| flag.value),
    })
}

/// An instance store volume, or none at all, has nothing of an EBS volume.
fn no_ebs(reader: &mut Reader<'_, '_>, virtual_name: Option<&Located<String>>, no_device: Option<&Located<bool>>) {
    if let Some(name) = virtual_name {
        let number = name.value.strip_prefix("ephemeral").map(str::parse::<u8>);
        if !matches!(number, Some(Ok(0..=23))) {
            let value = Some(format!("{:?}", name.value));
            let cure = "write \"ephemeral0\" to \"ephemeral23\"";
            reader.report(name.at.clone(), "virtual_name", value, "is not an instance store volume", cure);
        }
    }
    if let Some(flag) = no_device.filter(|flag| !flag.value) {
        let cure = "write true, or remove the key";
        reader.report(flag.at.clone(), "no_device", Some("false".to_owned()), "says nothing", cure);
    }
    let of = match (virtual_name, no_device) {
        (Some(_), Some(flag)) => {
            let cure = "keep one of the two";
            return reader.report(flag.at.clone(), "no_device", None, "is given beside virtual_name", cure);
        }
        (Some(_), None) => "virtual_name",
        (None, Some(_)) => "no_device",
        (None, None) => return,
    };
    for key in EBS_KEYS.into_iter().filter(|key| reader.has(key)).collect::<Vec<_>>() {
        let (at, message) =
            (reader.origin_of(key), format!("is given beside {of}, and says something of an EBS volume"));
        reader.report(at, key, None, message, "keep one of the two");
    }
}

/// What each volume type takes, by the reference of EBS volume types.
fn speed(reader: &mut Reader<'_, '_>, volume_type: Option<&str>) {
    let takes_iops = volume_type.is_none_or(|kind| matches!(kind, "gp3" | "io1" | "io2"));
    if reader.has("iops") && !takes_iops {
        let at = reader.origin_of("iops");
        reader.report(at, "iops", None, "is given for a type that has none to choose", "use gp3, io1 or io2");
    }
    if matches!(volume_type, Some("io1" | "io2")) && !reader.has("iops") {
        let at = reader.origin_of("type");
        let value = volume_type.map(|kind| format!("{kind:?}"));
        reader.report(at, "type", value, "is given without iops", "add iops: EC2 asks for it with this type");
    }
    if reader.has("throughput") && volume_type.is_some_and(|kind| kind != "gp3") {
        let at = reader.origin_of("throughput");
        reader.report(at, "throughput", None, "is given for a type that has none to choose", "use gp3");
    }
}

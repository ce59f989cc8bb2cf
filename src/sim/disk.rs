//! What a launch may say of its disks.

use super::error::ApiError;
use super::instance::{Disk, RunInstances};
use super::site::Site;

impl Site {
    /// EC2's rules for the disks of a launch.
    pub(super) fn check_disks(&self, request: &RunInstances) -> Result<(), ApiError> {
        for disk in &request.disks {
            if let Some(id) = disk.snapshot.as_deref().filter(|_| !self.lenient) {
                self.snapshot(id)?;
            }
            check_speed(disk)?;
            if disk.kms_key.is_some() && !disk.encrypted {
                let message = "The parameter KmsKeyId requires the parameter Encrypted to be set.";
                return Err(ApiError::client("InvalidParameterDependency", message));
            }
        }
        Ok(())
    }
}

fn check_speed(disk: &Disk) -> Result<(), ApiError> {
    let kind = disk.volume_type.as_str();
    let not_for = |parameter: &str| {
        let message = format!("The parameter {parameter} is not supported for {kind} volumes.");
        Err(ApiError::client("InvalidParameterCombination", message))
    };
    match kind {
        "io1" | "io2" if disk.iops.is_none() => {
            let message = format!("The parameter iops must be specified for {kind} volumes.");
            Err(ApiError::client("MissingParameter", message))
        }
        "gp3" | "io1" | "io2" if disk.throughput.is_some() && kind != "gp3" => not_for("throughput"),
        "gp3" | "io1" | "io2" => Ok(()),
        _ if disk.iops.is_some() => not_for("iops"),
        _ if disk.throughput.is_some() => not_for("throughput"),
        _ => Ok(()),
    }
}

//! PLACEHOLDER replaced by branch rguest.
use super::{Platform, Recipe};
use chrono::TimeDelta;

/// Script.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "placeholder")]
pub struct RebakeScript {
    pub nonce: String,
    pub recipe: Recipe,
    pub rounds_max: u32,
    pub services: Vec<String>,
    pub worker_version: Option<String>,
    pub clean: Vec<String>,
    pub sysprep: bool,
    pub deadline: TimeDelta,
    pub owner_script: Option<String>,
    pub setup: bool,
}

/// User data.
///
/// # Errors
/// None.
pub fn builder_user_data(_: Platform, script: &RebakeScript) -> Result<String, String> {
    Ok(script.nonce.clone())
}

/// Script.
///
/// # Errors
/// None.
pub fn ssm_script(_: Platform, script: &RebakeScript) -> Result<String, String> {
    Ok(script.nonce.clone())
}

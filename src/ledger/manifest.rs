//! PLACEHOLDER replaced by rkeys.
use std::path::Path;

/// Writes.
///
/// # Errors
/// Why.
pub fn write_manifest(path: &Path, change: impl FnOnce(&str) -> Result<String, String>) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    std::fs::write(path, change(&text)?).map_err(|e| e.to_string())
}

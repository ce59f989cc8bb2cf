//! The console of an instance.

use aws_sdk_ec2::Client;
use aws_sdk_ec2::operation::get_console_output::GetConsoleOutputOutput;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::error;
use crate::cloud::CloudError;
use crate::model::InstanceId;

/// How EC2 refuses `Latest` for an instance that is not on the Nitro system.
const NO_LATEST: [&str; 2] = ["UnsupportedOperation", "InvalidParameterCombination"];

/// What the instance wrote last. Only the Nitro system shows the present output; of other instances EC2 has
/// what it kept after the last boot or end.
pub(super) async fn read(reads: &Client, id: &InstanceId) -> Result<Option<String>, CloudError> {
    let latest = ask(reads, id, true).await;
    let answer = match latest {
        Err(refusal) if NO_LATEST.contains(&refusal.code.as_str()) => ask(reads, id, false).await?,
        other => other?,
    };
    Ok(answer.output().and_then(decoded))
}

async fn ask(reads: &Client, id: &InstanceId, latest: bool) -> Result<GetConsoleOutputOutput, CloudError> {
    let call = reads.get_console_output().instance_id(id.as_str());
    let call = if latest { call.latest(true) } else { call };
    call.send().await.map_err(|e| error::sorted(&e))
}

/// EC2 sends bytes in base64; what is no text in them is shown as such.
fn decoded(output: &str) -> Option<String> {
    let bytes: String = output.split_ascii_whitespace().collect();
    let text = String::from_utf8_lossy(&STANDARD.decode(bytes).ok()?).into_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_shown_as_far_as_it_goes() {
        assert_eq!(decoded("a2Vy\nbmVs").as_deref(), Some("kernel"));
        assert_eq!(decoded("/2E=").as_deref(), Some("\u{fffd}a"));
        assert_eq!((decoded(""), decoded("%")), (None, None));
    }
}

//! What is served, and that it is what it says.

use crate::harness::Lab;
use crate::setup::Setup;

#[tokio::test(start_paused = true)]
async fn smoke() {
    let mut lab = Lab::new(Setup::new());
    lab.make_ready("w1").await;
    lab.build("w1", Some("b/1"));
    std::fs::write("/tmp/metrics.txt", lab.controller().metrics(&[]).expect("x")).expect("x");
}

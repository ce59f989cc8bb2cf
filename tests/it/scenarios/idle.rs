//! `idle_timeout = "auto"`: kept idle for as long as costs the least.

use latent::model::IdleBasis;

use crate::harness::{Lab, minutes, seconds};
use crate::setup::Setup;

fn auto(more: &str) -> Setup {
    Setup::new().policy(&format!("idle_timeout = \"auto\"\n{more}"))
}

fn choice(lab: &Lab) -> (IdleBasis, u32) {
    let chosen = lab.view("w1").levers.idle.expect("it is chosen");
    (chosen.basis, chosen.seconds)
}

async fn builds_apart(lab: &mut Lab, gap: chrono::TimeDelta, from: u32, to: u32) {
    for number in from..to {
        lab.build("w1", Some(&format!("b/{number}")));
        lab.run(minutes(1)).await;
        lab.build("w1", None);
        lab.run(gap).await;
    }
}

#[tokio::test(start_paused = true)]
async fn it_idles_for_what_a_start_costs_and_learns_what_comes() {
    let mut lab = Lab::new(auto(""));
    lab.make_ready("w1").await;
    let (basis, at_first) = choice(&lab);
    assert_eq!(basis, IdleBasis::BreakEven);
    assert!((120..=3600).contains(&at_first), "{at_first}");
    assert_eq!(lab.view("w1").idle_timeout_s, Some(at_first.into()), "its master is told the same");
    lab.run(seconds(5)).await;
    assert!(lab.held("w1").ends_with("break-even)"), "{}", lab.held("w1"));
    builds_apart(&mut lab, seconds(100), 0, 12).await;
    let learned = choice(&lab);
    assert_eq!(learned.0, IdleBasis::History);
    assert!(learned.1 <= 120, "nothing came later than that: {learned:?}");
    assert!(lab.held("w1").contains("auto: 2m, by"), "{}", lab.held("w1"));
    lab.crash_and_start().await;
    assert_eq!(choice(&lab), learned, "the ledger remembers");
    lab.run(minutes(1)).await;
    lab.until_nothing_is_left().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_price_it_is_a_fixed_time() {
    let unknown = auto("").image_of("debian", "alice", "us-west-2", "ami-1", "\"m99.large\"", "");
    let mut lab = Lab::new(unknown);
    lab.request("w1");
    lab.run(seconds(10)).await;
    assert_eq!(choice(&lab), (IdleBasis::Unpriced, 600));
}

#[tokio::test(start_paused = true)]
async fn an_owner_to_whom_waiting_is_worth_more_waits_less() {
    let of = |price: &str| {
        let lab = Lab::new(auto(&format!("wait_price = \"{price}\"")));
        choice(&lab).1
    };
    assert!(of("0") < of("1.00") && of("1.00") < of("5.00"), "{} {} {}", of("0"), of("1.00"), of("5.00"));
    assert_eq!(of("1000"), 3600);
}

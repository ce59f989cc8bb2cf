//! Stories of the places where people are told: what waits for them, what finds room, and what does not arrive.

use latent::model::{AlarmClass, BudgetLevel};
use latent::plan::alarm::{Channel, DeliveryFact, Post, Who, subject};

use super::engine::{MAIL, Story, budget};
use crate::harness::{minutes, morning};
use crate::setup::Setup;

#[test]
fn a_storm_is_one_message_with_a_count() {
    let mut story = Story::new("");
    for number in 0..250 {
        story.zombie(0, &format!("i-{number:03}"), true);
    }
    story.run(minutes(120));
    assert_eq!(story.posts.len(), 1);
    assert_eq!((story.posts[0].notices.len(), story.posts[0].more), (100, 150), "all of the urgent ones that wait");
    let line = subject(&story.posts[0], "test");
    assert!(line.ends_with("(and 249 more)") && line.chars().count() <= 150, "{line}");
}

#[test]
fn what_is_urgent_and_the_week_find_room_among_what_is_not() {
    let setup = Setup::new()
        .owner("bob", "222222222222")
        .more(&format!("[notify]\nweekly = \"Mon 08:30-12:00\"\nquiet_hours = \"00:00-24:00\"\n{MAIL}"));
    let mut story = Story::of(&setup);
    story.facts.blocked.push(Channel::Mail("alice@example.org".to_owned()));
    for number in 0..130 {
        story.zombie(0, &format!("vol-{number}"), false);
    }
    story.run(minutes(40));
    story.facts.budgets = vec![budget(BudgetLevel::Hard, 50)];
    story.run(minutes(10)).told();
    story.facts.blocked.clear();
    story.run(minutes(10));
    let posts: Vec<&Post> = story.posts.iter().filter(|post| post.who.to_string() == "owner alice").collect();
    assert_eq!(posts.len(), 2, "{:?}", story.told());
    assert!(posts[0].notices[0].title.contains("the hard budget of $50.00"), "{:?}", posts[0].notices[0]);
    let ordinary = u32::try_from(posts[0].notices.len()).expect("few") - 1 + posts[0].more;
    assert_eq!(ordinary, 130, "the others are counted");
    let week: Vec<AlarmClass> = posts[1].notices.iter().map(|notice| notice.class).collect();
    assert_eq!(week, [AlarmClass::Weekly], "a message of its own");
}

#[test]
fn a_place_that_is_not_reached_is_told_to_the_admin_by_another_way() {
    let admin = "[notify.admin]\nmail = [\"admin@example.org\"]\nwebhook = [\"chat\"]\n\
                 [notify.webhook.chat]\nurl = \"https://chat.example.org/\"\n";
    let setup = Setup::new().owner("bob", "222222222222").more(&format!("[notify]\nweekly = \"never\"\n{admin}{MAIL}"));
    let mut story = Story::of(&setup);
    let channel = Channel::Mail("admin@example.org".to_owned());
    story.facts.deliveries.push(DeliveryFact {
        place: channel.to_string(),
        channel: channel.clone(),
        who: Who::Admin.to_string(),
        since: morning(),
        why: "550 no such user".to_owned(),
        waiting: 1,
        lost: 2,
    });
    let told = story.run(minutes(10)).told();
    assert_eq!(told, ["the admin webhook chat: messages for the admin do not reach mail admin@example.org"]);
    let places = |mails: &str| {
        let admin = admin.replace("[\"admin@example.org\"]", mails);
        Setup::new().owner("bob", "222222222222").more(&format!("[notify]\nweekly = \"never\"\n{admin}{MAIL}")).intent()
    };
    let unreached = std::mem::take(&mut story.facts.deliveries);
    story.intent = places("[]");
    assert_eq!(story.run(minutes(30)).told(), [""; 0], "nobody is told there any more, and nothing arrived");
    story.intent = places("[\"admin@example.org\"]");
    story.facts.deliveries = unreached;
    assert_eq!(story.run(minutes(10)).told().len(), 1);
    story.facts.deliveries.clear();
    let told = story.run(minutes(30)).told();
    assert!(told.iter().any(|line| line.contains("messages reach mail admin@example.org again, after")), "{told:?}");
}

#[test]
fn a_place_that_is_not_reached_gets_one_message_for_all_when_it_is() {
    let mut story = Story::new("digest = \"1m\"\n");
    story.facts.blocked.push(Channel::Mail("alice@example.org".to_owned()));
    for number in 0..10 {
        story.zombie(0, &format!("i-{number}"), true);
        assert_eq!(story.run(minutes(60)).told(), [""; 0]);
    }
    story.facts.blocked.clear();
    assert_eq!(story.run(minutes(30)).told().len(), 1);
}

//! The controller's own sweep: its own leftovers go after two looks, everything else is only told.

use latent::model::{Body, LeftoverKind};
use latent::plan::sweep::Act;
use latent::sim::{Tags, Volume};

use crate::account::{ApiCall, Fault};
use crate::harness::{Lab, minutes};
use crate::setup::Setup;

fn tags(fleet: &str, controller: &str) -> Tags {
    let own = [("latent:fleet", fleet), ("latent:controller", controller), ("latent:worker", "w1")];
    own.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

fn own(lab: &Lab) -> Tags {
    let fleet = lab.setup.intent().fleet;
    tags(&fleet.name, &fleet.controller)
}

fn volume(lab: &Lab, tags: Tags) -> String {
    let created = lab.now();
    lab.world(|site| {
        let volume = Volume::lone(&site.network.zones[0], 10, tags, created);
        site.create_volume(volume).expect("a zone").id.clone()
    })
}

fn is_there(lab: &Lab, id: &str) -> bool {
    lab.world(|site| site.volumes.contains_key(id))
}

/// What is told of a resource, and what would be done.
fn told(lab: &Lab, id: &str) -> Option<(LeftoverKind, Act)> {
    let cells = lab.controller().cells();
    let found = cells.iter().flat_map(|cell| &cell.leftovers).find(|finding| finding.id == id);
    found.map(|finding| (finding.kind, finding.act))
}

#[tokio::test(start_paused = true)]
async fn a_volume_of_its_own_goes_after_two_looks_and_nobody_elses_ever() {
    let mut lab = Lab::new(Setup::new());
    let fleet = lab.setup.intent().fleet;
    let own = volume(&lab, own(&lab));
    let others =
        [tags(&fleet.name, "another"), tags("another", &fleet.controller), Tags::new()].map(|tags| volume(&lab, tags));
    lab.run(minutes(25)).await;
    assert!(is_there(&lab, &own), "it is young");
    lab.until(minutes(30), "a first look", |lab| told(lab, &own) == Some((LeftoverKind::VolumeAvailable, Act::Mark)))
        .await;
    assert!(is_there(&lab, &own), "one look is not enough");
    lab.until(minutes(10), "it is gone", |lab| !is_there(lab, &own)).await;
    lab.run(minutes(60)).await;
    assert!(others.iter().all(|id| is_there(&lab, id)));
    assert_eq!(told(&lab, &others[0]), Some((LeftoverKind::VolumeAvailable, Act::Report)), "another controller's");
    assert_eq!(told(&lab, &others[1]), None, "another fleet's");
    let intended = lab.count(|body| matches!(body, Body::RemoveIntended { resource, .. } if resource.as_str() == own));
    let removed = lab.count(|body| matches!(body, Body::Removed { resource } if resource.as_str() == own));
    assert_eq!((intended, removed), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_a_person_keeps_stays() {
    let mut lab = Lab::new(Setup::new());
    let mut kept = own(&lab);
    kept.insert("latent:keep".to_owned(), "my notes".to_owned());
    let id = volume(&lab, kept);
    lab.run(minutes(120)).await;
    assert!(is_there(&lab, &id));
    assert_eq!(told(&lab, &id), None);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_taken_away_while_anything_cannot_be_seen() {
    let mut lab = Lab::new(Setup::new());
    let id = volume(&lab, own(&lab));
    let denied = Fault::Refuse(latent::model::FailureKind::Credentials, "UnauthorizedOperation");
    lab.inject(ApiCall::Addresses, &denied, 6);
    lab.run(minutes(70)).await;
    assert!(is_there(&lab, &id));
    let unseen: Vec<String> = lab.controller().cells().into_iter().flat_map(|cell| cell.unseen).collect();
    assert_eq!(unseen.len(), 1);
    assert!(unseen[0].starts_with("elastic IP addresses of us-west-2: UnauthorizedOperation"), "{unseen:?}");
    lab.make_ready("w1").await;
    lab.until(minutes(60), "it is gone", |lab| !is_there(lab, &id)).await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_begins_the_two_looks_anew() {
    let mut lab = Lab::new(Setup::new());
    let id = volume(&lab, own(&lab));
    lab.until(minutes(60), "a first look", |lab| told(lab, &id).is_some()).await;
    lab.drop_controller();
    lab.start();
    lab.until(minutes(5), "another first look", |lab| {
        told(lab, &id) == Some((LeftoverKind::VolumeAvailable, Act::Mark))
    })
    .await;
    lab.until(minutes(10), "it is gone", |lab| !is_there(lab, &id)).await;
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_taken_away_is_asked_for_seldom() {
    let mut lab = Lab::new(Setup::new());
    let id = volume(&lab, own(&lab));
    let denied = Fault::Refuse(latent::model::FailureKind::Credentials, "UnauthorizedOperation");
    lab.inject(ApiCall::DeleteVolume, &denied, 2);
    lab.run(minutes(11 * 60)).await;
    assert!(is_there(&lab, &id));
    assert_eq!(lab.count(|body| matches!(body, Body::RemoveIntended { .. })), 2, "each six hours");
    assert_eq!(lab.count(|body| matches!(body, Body::RemoveRefused { .. })), 2);
    assert_eq!(told(&lab, &id), Some((LeftoverKind::VolumeAvailable, Act::Terminate)), "it is told all the same");
    lab.until(minutes(3 * 60), "it is gone", |lab| !is_there(lab, &id)).await;
}

//! The walk of a sweep: the process dies at each of its steps in turn, and the next sweeps finish the work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use latent::model::{InstanceId, InstanceState, LeftoverKind, Response, tag_keys};
use latent::sim::{Life, NewImage, RunInstances, Step, Tags};
use tokio::sync::Notify;

use super::desk::{days, hours};
use super::rooms::{Rooms, lasting_disk, launch, spot, worker_tags};
use crate::harness::minutes;

/// A process that dies at one of its steps; at none if that is never reached.
struct Mortal {
    steps: AtomicU64,
    last: u64,
    died: Notify,
}

impl Mortal {
    fn until(last: u64) -> Arc<Self> {
        Arc::new(Self { steps: AtomicU64::new(0), last, died: Notify::new() })
    }
}

impl Life for Mortal {
    fn step(&self, _: Step) -> bool {
        let lives = self.steps.fetch_add(1, Ordering::Relaxed) + 1 < self.last;
        if !lives {
            self.died.notify_one();
        }
        lives
    }
}

/// What a sweep finds here: one leftover of each kind that is made by calls, and what is others'.
struct Account {
    rooms: Rooms,
    kept: Vec<InstanceId>,
    over: Vec<InstanceId>,
    of_others: String,
}

fn tags(pairs: &[(&str, &str)]) -> Tags {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

async fn account() -> Account {
    let mut rooms = Rooms::new();
    for kind in [LeftoverKind::AddressIdle, LeftoverKind::AmiStuck] {
        rooms.policy.respond.insert(kind, Response::Terminate);
    }
    let mut strangers = launch(&latent::model::TagSet::default());
    strangers.disks = vec![lasting_disk()];
    rooms.launched(&strangers);
    let ours = tags(&[(tag_keys::FLEET, "test"), (tag_keys::CONTROLLER, "ctl"), (tag_keys::IMAGE_ORIGIN, "rebake")]);
    rooms.here(|site, _| {
        site.allocate_address(Tags::new()).expect("allocates");
        site.allocate_address(ours.clone()).map(drop).expect("allocates");
    });
    rooms.lone_volume();
    let soon = worker_tags(rooms.now(), hours(1));
    let over = vec![
        rooms.launched(&RunInstances { disks: vec![lasting_disk()], ..launch(&soon) }),
        rooms.launched(&RunInstances { keeps_interface: true, spot: Some(spot(false)), ..launch(&soon) }),
    ];
    let mut keep = worker_tags(rooms.now(), hours(1));
    keep.set(tag_keys::KEEP, "true");
    let kept = vec![rooms.launched(&launch(&keep)), rooms.worker(days(9))];
    rooms.pass(minutes(1)).await;
    let new = NewImage { name: "debian".to_owned(), tags: ours.clone(), snapshot_tags: ours, ..NewImage::default() };
    rooms.here(|site, now| site.create_image(&kept[0], new, now).map(drop).expect("bakes"));
    rooms.pass(hours(5)).await;
    rooms.here(|site, now| {
        for image in site.images.values_mut() {
            image.state = latent::sim::ImageState::Failed;
        }
        let lease = tags(&[(tag_keys::LEASE, &super::desk::clock(now + days(2)))]);
        site.create_tags(&[kept[1].to_string()], &lease, now).expect("tags");
    });
    let of_others = rooms.of_others();
    Account { rooms, kept, over, of_others }
}

impl Account {
    /// Three sweeps: the first marks, the second takes away, the third what the second left.
    async fn work(&self) {
        for _ in 0..4 {
            self.rooms.sweep().await;
            self.rooms.pass(minutes(6)).await;
        }
    }

    /// Nothing of the fleet is left but what is kept, and nothing of others has changed.
    fn check(&self, about: &str) {
        let rooms = &self.rooms;
        for id in &self.over {
            assert_eq!(rooms.state(id), InstanceState::Terminated, "{about}");
        }
        for id in &self.kept {
            assert_eq!(rooms.state(id), InstanceState::Running, "{about}");
        }
        let ours: Vec<String> = rooms.here(|site, _| {
            let tagged = |id: &&str| {
                let of = |tags: &Tags| tags.contains_key(tag_keys::FLEET);
                site.volumes.get(*id).is_some_and(|volume| of(&volume.tags))
                    || site.interfaces.get(*id).is_some_and(|interface| of(&interface.tags))
                    || site.addresses.get(*id).is_some_and(|address| of(&address.tags))
                    || site.spot_requests.contains_key(*id)
            };
            let images = site.images.keys().map(String::as_str);
            site.left_over().into_iter().filter(tagged).chain(images).map(ToOwned::to_owned).collect()
        });
        assert_eq!(ours, Vec::<String>::new(), "{about}");
        assert_eq!(rooms.of_others(), self.of_others, "{about}");
    }
}

#[tokio::test(start_paused = true)]
async fn wherever_a_sweep_dies_the_next_ones_finish_its_work_and_touch_nothing_of_others() {
    let mut whole = account().await;
    let life = Mortal::until(u64::MAX);
    whole.rooms.life = Some(Arc::clone(&life) as Arc<dyn Life>);
    whole.work().await;
    whole.check("without a death");
    let steps = life.steps.load(Ordering::Relaxed);
    assert!(steps > 150, "a walk of {steps} steps");
    for last in 1..=steps {
        let mut account = account().await;
        let life = Mortal::until(last);
        account.rooms.life = Some(Arc::clone(&life) as Arc<dyn Life>);
        tokio::select! {
            () = account.work() => panic!("step {last} is not reached"),
            () = life.died.notified() => {}
        }
        account.rooms.life = None;
        account.work().await;
        account.check(&format!("after a death at step {last} of {steps}"));
    }
}

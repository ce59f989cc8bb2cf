//! The checks on the simulated EC2, in virtual time.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::LocalBoxFuture;
use latent::control::Clock;
use latent::model::{AgentPlatform, InstanceId, ResourceKind, TagSet};
use latent::sim::{
    ApiError, Disk, Image, ImageState, Interface, NewImage, Platform, Rule, RunInstances, SimCloud, Site, SiteId,
    TagTarget, Tags, Taken, Volume, Weather, World,
};

use super::{FLEET, Ground, Guest, Probe, Resource, Snapshots, commands_conform, conforms, records_conform};

const ACCOUNT: &str = "123456789012";
const AMI: &str = "ami-0123456789abc0001";

/// Looks into the simulated account itself.
struct Inside {
    world: Arc<Mutex<World>>,
    place: SiteId,
    clock: Clock,
}

fn tag_set(tags: &Tags) -> TagSet {
    tags.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

impl Inside {
    fn tags_now(&self, resource: Resource, of: &InstanceId) -> Vec<TagSet> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        let site = world.site(&self.place);
        let Some(instance) = site.instance(of) else { return Vec::new() };
        match resource {
            Resource::VolumesOf => {
                instance.volumes.iter().filter_map(|(_, id)| site.volumes.get(id)).map(|v| tag_set(&v.tags)).collect()
            }
            Resource::InterfacesOf => site
                .interfaces
                .values()
                .filter(|interface| interface.instance.as_ref() == Some(of))
                .map(|interface| tag_set(&interface.tags))
                .collect(),
        }
    }
}

fn sim_tags(tags: &TagSet) -> Tags {
    tags.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

impl Inside {
    fn at_once<'a, T: 'a>(
        &self,
        effect: impl FnOnce(&mut Site, DateTime<Utc>) -> Result<T, ApiError>,
    ) -> LocalBoxFuture<'a, Result<T, String>> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        let done = world.touch(&self.place, now, |site| effect(site, now));
        Box::pin(std::future::ready(done.map_err(|error| format!("{error:?}"))))
    }

    fn make_now(&self, kind: ResourceKind, tags: &TagSet) -> Result<String, ApiError> {
        let (tags, now) = (sim_tags(tags), self.clock.now());
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.touch(&self.place, now, |site| {
            let zone = site.network.zones.first().cloned().unwrap_or_default();
            let volume = Volume::lone(&zone, 8, tags.clone(), now);
            match kind {
                ResourceKind::Volume => Ok(site.create_volume(volume)?.id.clone()),
                ResourceKind::Snapshot => {
                    let of = site.create_volume(Volume { tags: Tags::new(), ..volume })?.id.clone();
                    Ok(site.create_snapshot(&of, "of a check", &tags, now)?.id.clone())
                }
                ResourceKind::Address => Ok(site.allocate_address(tags)?.id.clone()),
                ResourceKind::Interface => {
                    let id = format!("eni-0aaaaaaaaaaaa{:04x}", site.interfaces.len());
                    let interface = Interface {
                        id: id.clone(),
                        subnet: String::new(),
                        zone,
                        private_ip: "10.0.0.9".to_owned(),
                        groups: Vec::new(),
                        instance: None,
                        delete_on_termination: true,
                        tags,
                    };
                    site.interfaces.insert(id.clone(), interface);
                    Ok(id)
                }
                ResourceKind::SpotRequest => {
                    let request = RunInstances {
                        image: AMI.to_owned(),
                        instance_type: "m5.large".to_owned(),
                        min: 1,
                        max: 1,
                        tags: [(TagTarget::SpotRequest, tags)].into(),
                        ..RunInstances::default()
                    };
                    let ids = site.request_spot(&request, 1, None, now)?;
                    Ok(ids.into_iter().next().unwrap_or_default())
                }
                ResourceKind::Instance | ResourceKind::Ami => Ok(String::new()),
            }
        })
    }
}

impl Probe for Inside {
    fn make<'a>(&'a self, kind: ResourceKind, tags: &'a TagSet) -> LocalBoxFuture<'a, Result<String, String>> {
        Box::pin(std::future::ready(self.make_now(kind, tags).map_err(|error| format!("{error:?}"))))
    }

    fn tags<'a>(&'a self, resource: Resource, of: &'a InstanceId) -> LocalBoxFuture<'a, Result<Vec<TagSet>, String>> {
        Box::pin(async move { Ok(self.tags_now(resource, of)) })
    }

    fn group<'a>(&'a self, name: &'a str, tags: &'a TagSet) -> LocalBoxFuture<'a, Result<String, String>> {
        self.at_once(|site, _| Ok(site.create_group(name, "of a check", sim_tags(tags))?.id.clone()))
    }

    fn rules<'a>(&'a self, group: &'a str) -> LocalBoxFuture<'a, Result<Vec<String>, String>> {
        let word = |rule: &Rule| {
            let way = if rule.egress { "out" } else { "in" };
            let port = rule.ports.map_or_else(|| "all".to_owned(), |(from, _)| from.to_string());
            format!("{way} {} {port} {}", rule.protocol, rule.peer)
        };
        self.at_once(|site, _| {
            Ok(site.network.groups.get(group).map(|group| group.rules.iter().map(word).collect()).unwrap_or_default())
        })
    }

    fn open<'a>(&'a self, group: &'a str) -> LocalBoxFuture<'a, Result<(), String>> {
        let rule = |egress: bool, protocol: &str, ports: Option<(i64, i64)>| Rule {
            id: String::new(),
            egress,
            protocol: protocol.to_owned(),
            ports,
            peer: "0.0.0.0/0".to_owned(),
            description: String::new(),
        };
        let rules = vec![rule(false, "tcp", Some((22, 22))), rule(true, "-1", None)];
        self.at_once(|site, _| site.authorize_group(group, rules).map(drop))
    }

    fn subnet(&self) -> LocalBoxFuture<'_, Result<String, String>> {
        self.at_once(|site, _| Ok(site.network.subnets.keys().next().cloned().unwrap_or_default()))
    }

    fn template<'a>(&'a self, name: &'a str, amis: &'a [&'a str]) -> LocalBoxFuture<'a, Result<String, String>> {
        self.at_once(|site, now| {
            let data = |ami: &str| [("ImageId".to_owned(), ami.to_owned())].into();
            let id = site.create_template(name, data(amis[0]), Tags::new(), now)?.id.clone();
            for ami in &amis[1..] {
                site.add_template_version(&id, data(ami), now)?;
            }
            Ok(id)
        })
    }

    fn register<'a>(
        &'a self,
        name: &'a str,
        snapshot: &'a str,
        tags: &'a TagSet,
    ) -> LocalBoxFuture<'a, Result<String, String>> {
        self.at_once(|site, now| {
            let new = NewImage { name: name.to_owned(), tags: sim_tags(tags), ..NewImage::default() };
            let disk = Disk { snapshot: Some(snapshot.to_owned()), ..image().disks.remove(0) };
            Ok(site.register_image(new, "x86_64", "/dev/xvda", vec![disk], now)?.id.clone())
        })
    }

    fn snapshots(&self) -> LocalBoxFuture<'_, Result<Snapshots, String>> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshots = world.site(&self.place).snapshots.values();
        let all = snapshots.map(|snapshot| (snapshot.id.clone(), tag_set(&snapshot.tags))).collect();
        Box::pin(std::future::ready(Ok(all)))
    }
}

impl Inside {
    fn touch<T>(&self, act: impl FnOnce(&mut Site, DateTime<chrono::Utc>) -> T) -> T {
        let now = self.clock.now();
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.touch(&self.place, now, |site| act(site, now))
    }
}

impl Guest for Inside {
    fn pings<'a>(&'a self, of: &'a InstanceId, platform: &'a str) -> LocalBoxFuture<'a, Result<bool, String>> {
        let platform = AgentPlatform::read(platform);
        let heard = self.touch(|site, now| site.agent_pings(of, "3.3.0.0", &platform, now));
        Box::pin(std::future::ready(Ok(heard)))
    }

    fn takes<'a>(&'a self, of: &'a InstanceId) -> LocalBoxFuture<'a, Result<Option<Taken>, String>> {
        Box::pin(std::future::ready(Ok(self.touch(|site, now| site.agent_takes(of, now)))))
    }

    fn answers<'a>(
        &'a self,
        of: &'a InstanceId,
        run: &'a Taken,
        (code, output): (i32, &'a str),
    ) -> LocalBoxFuture<'a, Result<(), String>> {
        self.touch(|site, now| site.agent_answers(of, &run.command, (code, output, ""), now));
        Box::pin(std::future::ready(Ok(())))
    }

    fn waits(&self, seconds: u32) -> LocalBoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            self.clock.sleep_until(self.clock.now() + TimeDelta::seconds(i64::from(seconds))).await;
            Ok(())
        })
    }
}

fn image() -> Image {
    let root = Disk {
        device: "/dev/xvda".to_owned(),
        size_gib: 8,
        volume_type: "gp3".to_owned(),
        delete_on_termination: true,
        snapshot: None,
        encrypted: false,
        ..Disk::default()
    };
    Image {
        id: AMI.to_owned(),
        owner: None,
        owner_alias: None,
        name: "worker".to_owned(),
        description: String::new(),
        state: ImageState::Available,
        platform: Platform::Linux,
        architecture: "x86_64".to_owned(),
        root_device: root.device.clone(),
        disks: vec![root],
        created: DateTime::UNIX_EPOCH,
        deprecated_at: None,
        source_instance: None,
        boot_mode: None,
        imds_support: None,
        public: false,
        protected: false,
        product_codes: Vec::new(),
        tags: Tags::new(),
    }
}

fn ground() -> (Ground<SimCloud>, Inside) {
    let clock = Clock::starting_at(DateTime::UNIX_EPOCH + TimeDelta::days(20_000));
    let place = SiteId::new(ACCOUNT, "us-west-2");
    let mut world = World::new(1, Weather::calm());
    let site = world.site(&place);
    site.images.insert(AMI.to_owned(), image());
    site.quota_vcpus = 10_000;
    let world = Arc::new(Mutex::new(world));
    let inside = || Inside { world: Arc::clone(&world), place: place.clone(), clock: clock.clone() };
    let ground = Ground {
        cloud: SimCloud::new(Arc::clone(&world), place.clone(), Some(FLEET), clock.clone()),
        clock: clock.clone(),
        account: ACCOUNT,
        ami: AMI.to_owned(),
        more_than_a_page: 1_005,
        look_every: TimeDelta::seconds(1),
        probe: Box::new(inside()),
    };
    (ground, inside())
}

#[tokio::test(start_paused = true)]
async fn the_simulated_ec2_does_as_ec2_does() {
    conforms("simulation", &ground().0).await;
}

#[tokio::test(start_paused = true)]
async fn the_simulated_ssm_does_as_ssm_does() {
    let (ground, guest) = ground();
    commands_conform("simulation", &ground, &guest).await;
}

#[tokio::test(start_paused = true)]
async fn the_simulated_records_are_as_those_of_aws() {
    let (ground, guest) = ground();
    records_conform("simulation", &ground, &guest).await;
}

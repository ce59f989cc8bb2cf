//! An owner's account in one region, looked at through the AWS SDK. Nothing here can change it.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{self, Filter, InstanceLifecycleType};
use tokio::sync::OnceCell;

use super::guard::{LastDate, ReadOnly};
use super::trial::{tried, try_out};
use super::{FILTER_VALUES, connect, convert, equip, error};
use crate::cloud::{Checkup, CloudError};
use crate::model::{
    AmiCandidate, AmiFacts, AmiId, AmiQuery, Cell, FailureKind, Found, Greeting, GroupFacts, GroupRule, Identity,
    ImdsDefaults, Market, OtherInstance, ResourceId, ResourceKind, Seen, SubnetFacts, Trial, Tried, TypeFacts, Unseen,
    tag_keys,
};
use crate::policy::{Intent, Owner};

/// The name of our sessions, so that CloudTrail tells a check-up from the controller.
const SESSION: &str = "latent-doctor";
/// Security groups and instances per page: the most that EC2 gives.
const PAGE: i32 = 1000;

/// One owner's account in one region, looked at. It connects at the first call.
#[derive(Debug)]
pub struct Ec2Checkup {
    cell: Cell,
    owner: Option<Owner>,
    fleet: String,
    clients: OnceCell<Looking>,
}

#[derive(Debug)]
struct Looking {
    ec2: aws_sdk_ec2::Client,
    sts: aws_sdk_sts::Client,
    quotas: aws_sdk_servicequotas::Client,
    date: LastDate,
}

impl Ec2Checkup {
    /// The account of a cell as the configuration names it. Makes no call.
    pub fn new(cell: &Cell, intent: &Intent) -> Self {
        let owner = intent.owners.get(&cell.owner).cloned();
        Self { cell: cell.clone(), owner, fleet: intent.fleet.name.clone(), clients: OnceCell::new() }
    }

    async fn clients(&self) -> Seen<&Looking> {
        let Some(owner) = &self.owner else {
            let message = format!("owner {} is not in the configuration", self.cell.owner);
            return Err(Unseen { kind: FailureKind::Owner, code: "UnknownOwner".to_owned(), message });
        };
        let connect = async || {
            let config = connect::configuration(&self.cell, owner, SESSION).await;
            let date = LastDate::default();
            let ec2 = aws_sdk_ec2::config::Builder::from(&config).interceptor(ReadOnly).build();
            let sts = aws_sdk_sts::config::Builder::from(&config).interceptor(date.clone()).build();
            Looking {
                ec2: aws_sdk_ec2::Client::from_conf(ec2),
                sts: aws_sdk_sts::Client::from_conf(sts),
                quotas: aws_sdk_servicequotas::Client::new(&config),
                date,
            }
        };
        Ok(self.clients.get_or_init(connect).await)
    }

    async fn identity(&self) -> Seen<Identity> {
        let answer = self.clients().await?.sts.get_caller_identity().send().await.map_err(|e| error::sorted(&e))?;
        let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
        Ok(Identity { account: text(answer.account()), arn: text(answer.arn()) })
    }
}

impl Checkup for Ec2Checkup {
    async fn greet(&self) -> Greeting {
        let identity = self.identity().await;
        Greeting { identity, date: self.clients.get().and_then(|clients| clients.date.get()) }
    }

    async fn honours_dry_runs(&self) -> Seen<bool> {
        let call = self.clients().await?.ec2.describe_instances().max_results(PAGE).dry_run(true);
        match tried(call.send().await) {
            Tried::Allowed => Ok(true),
            Tried::Denied => Err(Unseen {
                kind: FailureKind::Credentials,
                code: "UnauthorizedOperation".to_owned(),
                message: "ec2:DescribeInstances is not allowed".to_owned(),
            }),
            Tried::Otherwise(why) if why.is_ignored() => Ok(false),
            Tried::Otherwise(why) => Err(why),
        }
    }

    async fn try_out(&self, trial: &Trial) -> Tried {
        match self.clients().await {
            Ok(clients) => try_out(&clients.ec2, &self.fleet, trial).await,
            Err(why) => Tried::Otherwise(why),
        }
    }

    async fn ami(&self, id: &AmiId) -> Seen<AmiFacts> {
        let call = self.clients().await?.ec2.describe_images().image_ids(id.as_str());
        let call = call.include_deprecated(true).include_disabled(true);
        let answer = call.send().await.map_err(|e| error::sorted(&e))?;
        let absent = || Unseen {
            kind: FailureKind::Owner,
            code: "InvalidAMIID.NotFound".to_owned(),
            message: format!("{id} is not listed"),
        };
        answer.images().first().map(ami).ok_or_else(absent)
    }

    async fn ami_candidates(&self, query: &AmiQuery) -> Seen<Vec<AmiCandidate>> {
        Ok(equip::ami_candidates(&self.clients().await?.ec2, query).await?)
    }

    async fn instance_types(&self, names: &BTreeSet<String>) -> Found<String, TypeFacts> {
        let (clients, names) = (self.clients().await?, names.iter().cloned().collect::<Vec<_>>());
        let mut found = BTreeMap::new();
        for names in names.chunks(FILTER_VALUES) {
            // A filter, not a list of names: a name that the region does not know fails a whole call that has it.
            let named = Filter::builder().name("instance-type").set_values(Some(names.to_vec())).build();
            let mut pages = clients.ec2.describe_instance_types().filters(named).into_paginator().items().send();
            while let Some(kind) = pages.next().await {
                let kind = kind.map_err(|e| error::sorted(&e))?;
                found.extend(kind.instance_type().map(|name| (name.as_str().to_owned(), type_facts(&kind))));
            }
        }
        Ok(found)
    }

    async fn groups(&self) -> Found<String, GroupFacts> {
        let call = self.clients().await?.ec2.describe_security_groups().max_results(PAGE);
        let groups = call.into_paginator().items().send().try_collect().await.map_err(|e| error::sorted(&e))?;
        Ok(groups.iter().map(|group| (group.group_id().unwrap_or_default().to_owned(), group_facts(group))).collect())
    }

    async fn subnets(&self) -> Found<String, SubnetFacts> {
        let call = self.clients().await?.ec2.describe_subnets().max_results(PAGE);
        let subnets = call.into_paginator().items().send().try_collect().await.map_err(|e| error::sorted(&e))?;
        let one = |subnet: &types::Subnet| SubnetFacts {
            zone: subnet.availability_zone().unwrap_or_default().to_owned(),
            vpc: subnet.vpc_id().unwrap_or_default().to_owned(),
            free: subnet.available_ip_address_count().and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
            default_for_zone: subnet.default_for_az().unwrap_or(false),
        };
        Ok(subnets.iter().map(|subnet| (subnet.subnet_id().unwrap_or_default().to_owned(), one(subnet))).collect())
    }

    async fn key_pairs(&self) -> Seen<BTreeSet<String>> {
        let answer = self.clients().await?.ec2.describe_key_pairs().send().await.map_err(|e| error::sorted(&e))?;
        Ok(answer.key_pairs().iter().filter_map(|pair| pair.key_name().map(ToOwned::to_owned)).collect())
    }

    async fn all_instances(&self) -> Seen<Vec<OtherInstance>> {
        let call = self.clients().await?.ec2.describe_instances().max_results(PAGE);
        let found = call.into_paginator().items().send().try_collect().await.map_err(|e| error::sorted(&e))?;
        let reservations = found.iter().flat_map(types::Reservation::instances);
        Ok(reservations.map(other_instance).collect::<Result<_, CloudError>>()?)
    }

    async fn one_of_ours(&self, kind: ResourceKind) -> Seen<Option<ResourceId>> {
        let (ec2, name) = (&self.clients().await?.ec2, format!("tag:{}", tag_keys::FLEET));
        let ours = Some(vec![Filter::builder().name(name).values(&self.fleet).build()]);
        let refused = |refusal| Unseen::from(refusal);
        let id = match kind {
            ResourceKind::Volume => {
                let page = ec2.describe_volumes().set_filters(ours).max_results(PAGE).send().await;
                first(page.map_err(|e| refused(error::sorted(&e)))?.volumes(), types::Volume::volume_id)
            }
            ResourceKind::Snapshot => {
                let call = ec2.describe_snapshots().owner_ids("self").set_filters(ours).max_results(PAGE);
                let page = call.send().await.map_err(|e| refused(error::sorted(&e)))?;
                first(page.snapshots(), types::Snapshot::snapshot_id)
            }
            ResourceKind::Interface => {
                let page = ec2.describe_network_interfaces().set_filters(ours).max_results(PAGE).send().await;
                let page = page.map_err(|e| refused(error::sorted(&e)))?;
                first(page.network_interfaces(), types::NetworkInterface::network_interface_id)
            }
            ResourceKind::Address => {
                let page = ec2.describe_addresses().set_filters(ours).send().await;
                first(page.map_err(|e| refused(error::sorted(&e)))?.addresses(), types::Address::allocation_id)
            }
            ResourceKind::SpotRequest => {
                let page = ec2.describe_spot_instance_requests().set_filters(ours).max_results(PAGE).send().await;
                let page = page.map_err(|e| refused(error::sorted(&e)))?;
                first(page.spot_instance_requests(), types::SpotInstanceRequest::spot_instance_request_id)
            }
            ResourceKind::Instance | ResourceKind::Ami => None,
        };
        Ok(id)
    }

    async fn imds_defaults(&self) -> Seen<ImdsDefaults> {
        let call = self.clients().await?.ec2.get_instance_metadata_defaults();
        let answer = call.send().await.map_err(|e| error::sorted(&e))?;
        let Some(level) = answer.account_level() else { return Ok(ImdsDefaults::default()) };
        Ok(ImdsDefaults {
            off: level.http_endpoint() == Some(&types::InstanceMetadataEndpointState::Disabled),
            tokens: level.http_tokens().map(|tokens| tokens.as_str().to_owned()),
            hop_limit: level.http_put_response_hop_limit().and_then(|hops| u32::try_from(hops).ok()),
        })
    }

    async fn quota(&self, code: &str) -> Seen<f64> {
        let call = self.clients().await?.quotas.get_service_quota().service_code("ec2").quota_code(code);
        let answer = call.send().await.map_err(|e| error::sorted(&e))?;
        answer.quota().and_then(aws_sdk_servicequotas::types::ServiceQuota::value).ok_or_else(|| Unseen {
            kind: FailureKind::Unreachable,
            code: "NoValue".to_owned(),
            message: format!("the quota {code} has no value"),
        })
    }
}

/// The first id of a page that can be read.
fn first<T>(page: &[T], id: impl Fn(&T) -> Option<&str>) -> Option<ResourceId> {
    page.iter().find_map(|one| id(one)?.parse().ok())
}

fn ami(image: &types::Image) -> AmiFacts {
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let root = image.root_device_name();
    let root_disk = image.block_device_mappings().iter().find(|disk| root.is_some() && disk.device_name() == root);
    let root_gib = root_disk.and_then(|disk| disk.ebs()?.volume_size()).and_then(|size| u32::try_from(size).ok());
    AmiFacts {
        name: text(image.name()),
        account: text(image.owner_id()),
        state: convert::ami_state(image.state()),
        created: image.creation_date().and_then(|at| at.parse().ok()),
        deprecated: image.deprecation_time().and_then(|at| at.parse().ok()),
        public: image.public().unwrap_or(false),
        architecture: image.architecture().map(|word| word.as_str().to_owned()).unwrap_or_default(),
        windows: image.platform().is_some_and(|word| word.as_str().eq_ignore_ascii_case("windows")),
        root_device: root.map(ToOwned::to_owned),
        root_gib,
        root_encrypted: root_disk.and_then(|disk| disk.ebs()?.encrypted()),
        boot_mode: image.boot_mode().map(|word| word.as_str().to_owned()),
        ena: image.ena_support().unwrap_or(false),
        imds_v2: image.imds_support() == Some(&types::ImdsSupportValues::V20),
    }
}

fn type_facts(kind: &types::InstanceTypeInfo) -> TypeFacts {
    let architectures = kind.processor_info().map(types::ProcessorInfo::supported_architectures).unwrap_or_default();
    let nitro = kind.hypervisor() == Some(&types::InstanceTypeHypervisor::Nitro);
    let ena = kind.network_info().and_then(types::NetworkInfo::ena_support);
    TypeFacts {
        vcpus: kind.v_cpu_info().and_then(types::VCpuInfo::default_v_cpus).map_or(0, |n| u32::try_from(n).unwrap_or(0)),
        memory_mib: kind
            .memory_info()
            .and_then(types::MemoryInfo::size_in_mib)
            .map_or(0, |n| u64::try_from(n).unwrap_or(0)),
        architectures: architectures.iter().map(|word| word.as_str().to_owned()).collect(),
        // A metal type has no hypervisor.
        nitro: nitro || kind.bare_metal() == Some(true),
        ena_required: ena == Some(&types::EnaSupport::Required),
        boot_modes: kind.supported_boot_modes().iter().map(|word| word.as_str().to_owned()).collect(),
        hibernates: kind.hibernation_supported() == Some(true),
    }
}

fn group_facts(group: &types::SecurityGroup) -> GroupFacts {
    GroupFacts {
        name: group.group_name().unwrap_or_default().to_owned(),
        vpc: group.vpc_id().unwrap_or_default().to_owned(),
        inbound: group.ip_permissions().iter().flat_map(rules).collect(),
        outbound: group.ip_permissions_egress().iter().flat_map(rules).collect(),
    }
}

/// One rule for each peer of a permission.
fn rules(permission: &types::IpPermission) -> Vec<GroupRule> {
    let protocol = permission.ip_protocol().unwrap_or("-1").to_owned();
    let port = |number: Option<i32>| number.and_then(|number| u16::try_from(number).ok());
    let ports = port(permission.from_port()).zip(port(permission.to_port())).filter(|_| protocol != "-1");
    let ranges = permission.ip_ranges().iter().map(|range| (range.cidr_ip(), range.description()));
    let ranges6 = permission.ipv6_ranges().iter().map(|range| (range.cidr_ipv6(), range.description()));
    let groups = permission.user_id_group_pairs().iter().map(|pair| (pair.group_id(), pair.description()));
    let lists = permission.prefix_list_ids().iter().map(|list| (list.prefix_list_id(), list.description()));
    let peers = ranges.chain(ranges6).chain(groups).chain(lists);
    let rule = |(peer, description): (Option<&str>, Option<&str>)| GroupRule {
        protocol: protocol.clone(),
        ports,
        peer: peer.unwrap_or_default().to_owned(),
        description: description.unwrap_or_default().to_owned(),
    };
    peers.map(rule).collect()
}

fn other_instance(sdk: &types::Instance) -> Result<OtherInstance, CloudError> {
    let spot = sdk.instance_lifecycle() == Some(&InstanceLifecycleType::Spot);
    let market = if spot { Market::Spot } else { Market::OnDemand };
    let read = convert::instance(sdk)?;
    Ok(OtherInstance { id: read.id, state: read.state, instance_type: read.instance_type, market, tags: read.tags })
}

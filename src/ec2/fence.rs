//! The single calls for a builder's security group.

use aws_sdk_ec2::types::{
    self, Filter, IpPermission, IpRange, Ipv6Range, PrefixListId, ResourceType, TagSpecification, UserIdGroupPair,
};

use super::connect::Clients;
use super::{PAGE, PAGES_MAX, convert, error, too_many_pages};
use crate::cloud::{CloudError, FENCE_DESCRIPTION, FenceApi, FenceGroup, FenceRule, WhichGroups, no_default_vpc};
use crate::model::{FailureKind, GroupId, Place, Role, TagSet, tag_keys};

fn filter(name: impl Into<String>, value: &str) -> Filter {
    Filter::builder().name(name).values(value).build()
}

fn filters(which: WhichGroups<'_>) -> Vec<Filter> {
    match which {
        WhichGroups::Named(name, vpc) => vec![filter("group-name", name), filter("vpc-id", vpc)],
        WhichGroups::One(id) => vec![filter("group-id", id.as_str())],
        WhichGroups::Fences(fleet) => {
            let role = filter(format!("tag:{}", tag_keys::ROLE), &Role::Rebake.to_string());
            let of = match fleet {
                "" => filter("tag-key", tag_keys::FLEET),
                fleet => filter(format!("tag:{}", tag_keys::FLEET), fleet),
            };
            vec![of, role]
        }
    }
}

impl FenceApi for Clients {
    async fn vpc(&self, place: &Place) -> Result<String, CloudError> {
        let Place::Subnet(id) = place else {
            let default = filter("is-default", "true");
            let answer = self.reads.describe_vpcs().filters(default).send().await.map_err(|e| error::sorted(&e))?;
            let found = answer.vpcs().first().and_then(types::Vpc::vpc_id).map(ToOwned::to_owned);
            return found.ok_or_else(no_default_vpc);
        };
        let answer = self.reads.describe_subnets().subnet_ids(id).send().await.map_err(|e| error::sorted(&e))?;
        let found = answer.subnets().first().and_then(types::Subnet::vpc_id).map(ToOwned::to_owned);
        found.ok_or_else(|| CloudError {
            kind: FailureKind::Owner,
            code: "InvalidSubnetID.NotFound".to_owned(),
            message: format!("subnet {id} does not exist in this account and region"),
        })
    }

    async fn groups(&self, which: WhichGroups<'_>) -> Result<Vec<FenceGroup>, CloudError> {
        let (mut all, mut token) = (Vec::new(), None::<String>);
        for _ in 0..PAGES_MAX {
            let call = self.reads.describe_security_groups().set_filters(Some(filters(which)));
            let page = call.max_results(PAGE).set_next_token(token).send().await.map_err(|e| error::sorted(&e))?;
            for group in page.security_groups() {
                all.push(shown(group)?);
            }
            token = page.next_token().filter(|token| !token.is_empty()).map(ToOwned::to_owned);
            if token.is_none() {
                return Ok(all);
            }
        }
        Err(too_many_pages())
    }

    async fn create_group(&self, name: &str, vpc: &str, tags: &TagSet) -> Result<GroupId, CloudError> {
        let tags = Some(convert::sdk_tags(tags));
        let tags = TagSpecification::builder().resource_type(ResourceType::SecurityGroup).set_tags(tags).build();
        let call = self.writes.create_security_group().group_name(name).description(FENCE_DESCRIPTION).vpc_id(vpc);
        let answer = call.tag_specifications(tags).send().await.map_err(|e| error::sorted(&e))?;
        group_id(answer.group_id())
    }

    async fn let_out(&self, id: &GroupId, rules: &[FenceRule]) -> Result<(), CloudError> {
        let call = self.writes.authorize_security_group_egress().group_id(id.as_str());
        let call = call.set_ip_permissions(Some(permissions(rules)));
        call.send().await.map(drop).map_err(|e| error::sorted(&e))
    }

    async fn stop_out(&self, id: &GroupId, rules: &[FenceRule]) -> Result<(), CloudError> {
        let call = self.writes.revoke_security_group_egress().group_id(id.as_str());
        let call = call.set_ip_permissions(Some(permissions(rules)));
        call.send().await.map(drop).map_err(|e| error::sorted(&e))
    }

    async fn stop_in(&self, id: &GroupId, rules: &[FenceRule]) -> Result<(), CloudError> {
        let call = self.writes.revoke_security_group_ingress().group_id(id.as_str());
        let call = call.set_ip_permissions(Some(permissions(rules)));
        call.send().await.map(drop).map_err(|e| error::sorted(&e))
    }

    async fn delete_group(&self, id: &GroupId) -> Result<(), CloudError> {
        let call = self.writes.delete_security_group().group_id(id.as_str());
        call.send().await.map(drop).map_err(|e| error::sorted(&e))
    }
}

fn group_id(text: Option<&str>) -> Result<GroupId, CloudError> {
    text.unwrap_or_default().parse().map_err(|error| CloudError {
        kind: FailureKind::Bug,
        code: "UnreadableGroup".to_owned(),
        message: format!("a security group's id cannot be read: {error}"),
    })
}

fn shown(group: &types::SecurityGroup) -> Result<FenceGroup, CloudError> {
    Ok(FenceGroup {
        id: group_id(group.group_id())?,
        name: group.group_name().unwrap_or_default().to_owned(),
        inbound: group.ip_permissions().iter().flat_map(rules).collect(),
        outbound: group.ip_permissions_egress().iter().flat_map(rules).collect(),
        tags: convert::tags(group.tags()),
    })
}

/// One rule for each peer of a permission.
fn rules(permission: &IpPermission) -> Vec<FenceRule> {
    let protocol = permission.ip_protocol().unwrap_or("-1");
    // Of all protocols there are no ports, whatever stands in their place.
    let ports = permission.from_port().zip(permission.to_port()).filter(|_| protocol != "-1");
    let ranges = permission.ip_ranges().iter().map(IpRange::cidr_ip);
    let ranges6 = permission.ipv6_ranges().iter().map(Ipv6Range::cidr_ipv6);
    let groups = permission.user_id_group_pairs().iter().map(UserIdGroupPair::group_id);
    let lists = permission.prefix_list_ids().iter().map(PrefixListId::prefix_list_id);
    let peers = ranges.chain(ranges6).chain(groups).chain(lists).map(Option::unwrap_or_default);
    peers.map(|peer| FenceRule { protocol: protocol.to_owned(), ports, peer: peer.to_owned() }).collect()
}

fn permissions(rules: &[FenceRule]) -> Vec<IpPermission> {
    let one = |rule: &FenceRule| {
        let (from, to) = rule.ports.unzip();
        let permission = IpPermission::builder().ip_protocol(&rule.protocol).set_from_port(from).set_to_port(to);
        let peer = rule.peer.as_str();
        let permission = if peer.starts_with("sg-") {
            permission.user_id_group_pairs(UserIdGroupPair::builder().group_id(peer).build())
        } else if peer.starts_with("pl-") {
            permission.prefix_list_ids(PrefixListId::builder().prefix_list_id(peer).build())
        } else if peer.contains(':') {
            permission.ipv6_ranges(Ipv6Range::builder().cidr_ipv6(peer).build())
        } else {
            permission.ip_ranges(IpRange::builder().cidr_ip(peer).build())
        };
        permission.build()
    };
    rules.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_revoked_is_what_was_shown() {
        let rule = |protocol: &str, ports, peer: &str| FenceRule {
            protocol: protocol.to_owned(),
            ports,
            peer: peer.to_owned(),
        };
        let all = [
            rule("-1", None, "0.0.0.0/0"),
            rule("tcp", Some((443, 443)), "::/0"),
            rule("icmp", Some((-1, -1)), "10.0.0.0/8"),
            rule("udp", Some((53, 53)), "sg-1"),
            rule("tcp", Some((443, 443)), "pl-1"),
        ];
        let again: Vec<FenceRule> = permissions(&all).iter().flat_map(rules).collect();
        assert_eq!(again, all);
    }
}

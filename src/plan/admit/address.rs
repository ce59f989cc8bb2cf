//! The address that a connection comes from, against those that EC2 shows.

use std::net::{IpAddr, Ipv4Addr};

use super::{Evidence, Finding, Knock, Present, may_run, ours, quoted};
use crate::model::{Instance, InstanceId, InstanceState};

/// An address as the master has it: with or without brackets and the zone of a link.
fn parsed(text: &str) -> Option<IpAddr> {
    let bare = text.trim().trim_start_matches('[').trim_end_matches(']');
    let bare = bare.split('%').next().unwrap_or(bare);
    bare.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

fn addresses(instance: &Instance) -> impl Iterator<Item = IpAddr> {
    instance.addresses.iter().filter_map(|text| parsed(text))
}

/// Whether an address is one of the Internet, the same wherever it is seen.
fn is_global(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            // 100.64.0.0/10 is what providers put behind their own NAT.
            let shared = v4.octets()[0] == 100 && (64..128).contains(&v4.octets()[1]);
            let none = v4.is_unspecified() || v4.is_broadcast() || *v4 == Ipv4Addr::LOCALHOST;
            !(v4.is_private() || v4.is_loopback() || v4.is_link_local() || shared || none)
        }
        IpAddr::V6(v6) => {
            !(v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local() || v6.is_unicast_link_local())
        }
    }
}

/// The peer's address, or why it says nothing.
fn telling(knock: &Knock<'_>) -> Result<IpAddr, String> {
    let text = knock.peer.ok_or("the master does not know the address of the connection")?;
    let peer =
        parsed(text).ok_or_else(|| format!("the connection comes from {}, which is no address", quoted(text)))?;
    if peer.is_loopback() || peer.is_unspecified() {
        return Err(format!("the connection comes from {peer}, through something on the master's own machine"));
    }
    if knock.intent.fleet.proxies.contains(&peer) {
        return Err(format!("the connection comes through the proxy {peer} (fleet.proxies)"));
    }
    Ok(peer)
}

/// The instance of the fleet that has the peer's address.
pub(super) fn holder(knock: &Knock<'_>) -> Option<InstanceId> {
    let peer = telling(knock).ok()?;
    other(knock, peer, None).map(|instance| instance.id.clone())
}

/// An instance of the worker's that is being ended and may be the one that knocks: EC2 shows no such address of it any
/// more, and who looks for the first time has none from before. What the right one's address is tells once it runs.
pub(super) fn unseen<'a>(present: &Present<'a>) -> Option<&'a Instance> {
    let knock = present.knock;
    let peer = telling(knock).ok()?;
    if present.listed().is_some_and(|instance| instance.state == InstanceState::Running) {
        return None;
    }
    let own = |instance: &Instance| ours(knock, instance).is_some_and(|(worker, _)| worker == *knock.worker);
    let ends = |instance: &Instance| knock.fleet.departing.contains_key(&instance.id) && may_run(&instance.state);
    let shows = |instance: &Instance| addresses(instance).any(|address| is_global(&address) == is_global(&peer));
    knock.inventory?.instances.values().find(|instance| ends(instance) && own(instance) && !shows(instance))
}

fn other<'a>(knock: &Knock<'a>, peer: IpAddr, but: Option<&InstanceId>) -> Option<&'a Instance> {
    let mut all = knock.inventory?.instances.values().filter(|instance| may_run(&instance.state));
    all.find(|instance| but != Some(&instance.id) && addresses(instance).any(|address| address == peer))
}

/// Whether the connection comes from an address of the present attempt's instance.
pub(super) fn finding(present: &Present<'_>) -> Finding {
    let knock = present.knock;
    let peer = match telling(knock) {
        Ok(peer) => peer,
        Err(why) => return Finding::unknown(&why),
    };
    let own: Vec<IpAddr> = present.listed().into_iter().flat_map(addresses).collect();
    if let (true, Some(id)) = (own.contains(&peer), &present.instance) {
        return Finding::proved(format!("it comes from {peer}, an address of {id}"));
    }
    if let Some(other) = other(knock, peer, present.instance.as_ref()) {
        return of_another(present, peer, other, own.is_empty());
    }
    if own.is_empty() {
        let why = format!("it comes from {peer}, and no address of {} is listed yet", present.named());
        return Finding { evidence: Evidence::Unknown(why), look: true };
    }
    let public = own.iter().find(|address| is_global(address) && address.is_ipv4() == peer.is_ipv4());
    match public {
        Some(public) if is_global(&peer) => {
            let why = format!(
                "it comes from {peer}, and the public address of {} is {public}; if a proxy or NAT stands between, \
                 name {peer} in fleet.proxies",
                present.named()
            );
            // An elastic address may have been given to it since the listing.
            Finding { evidence: Evidence::Contradicted(why, None), look: true }
        }
        Some(_) | None if is_global(&peer) => {
            Finding::unknown(&format!("it comes from {peer} through NAT, for {} has no such address", present.named()))
        }
        Some(_) | None => Finding::unknown(&format!(
            "it comes from {peer}, which no instance of the fleet has, nor is it listed as a proxy"
        )),
    }
}

/// The address is another's. While no address of the instance itself is listed, an old listing does not
/// tell whether the other one has given it back since; what we are ending has it until it is gone.
fn of_another(present: &Present<'_>, peer: IpAddr, other: &Instance, own_unlisted: bool) -> Finding {
    let knock = present.knock;
    let user = knock.fleet.bound_to(&other.id);
    let of = user.map(|name| format!(" of worker {name}")).unwrap_or_default();
    let young = knock.inventory.is_some_and(|inventory| inventory.observed_at >= present.attempt.created);
    let certain = !own_unlisted || young || knock.fleet.departing.contains_key(&other.id);
    let why = format!("it comes from {peer}, the address of {}{of}, and not from {}", other.id, present.named());
    let evidence = if certain { Evidence::Contradicted(why, Some(other.id.clone())) } else { Evidence::Unknown(why) };
    Finding { evidence, look: own_unlisted }
}

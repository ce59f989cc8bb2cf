//! What a running instance is given: an elastic IP address, a volume. And the AMIs to choose from.

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::Filter;

use super::connect::Clients;
use super::{PAGE, PAGES_MAX, convert, error, too_many_pages};
use crate::cloud::{CloudError, already_associated, for_equipment, no_such_address};
use crate::model::{AmiCandidate, AmiQuery, DataVolume, ElasticIp, InstanceId};

/// Every page of the AMIs that can be launched from, of these owners and for this processor.
pub(super) async fn ami_candidates(ec2: &Client, query: &AmiQuery) -> Result<Vec<AmiCandidate>, CloudError> {
    let is = |name: &str, value: &str| Filter::builder().name(name).values(value).build();
    let filters = vec![is("state", "available"), is("architecture", &query.architecture), is("image-type", "machine")];
    let owners = (!query.owners.is_empty()).then(|| query.owners.clone());
    let mut all = Vec::new();
    let mut token: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let call = ec2.describe_images().set_owners(owners.clone()).set_filters(Some(filters.clone()));
        let call = call.include_deprecated(false).max_results(PAGE).set_next_token(token);
        let page = call.send().await.map_err(|e| error::sorted(&e))?;
        for image in page.images() {
            all.push(convert::candidate(image)?);
        }
        token = page.next_token().filter(|token| !token.is_empty()).map(ToOwned::to_owned);
        if token.is_none() {
            return Ok(all);
        }
    }
    Err(too_many_pages())
}

/// Asks first whose the address is: EC2 wants its allocation, and what another has is not asked for.
pub(super) async fn associate(clients: &Clients, address: &ElasticIp, to: &InstanceId) -> Result<String, CloudError> {
    let by_id = address.as_str().starts_with("eipalloc-");
    let name = if by_id { "allocation-id" } else { "public-ip" };
    let named = Filter::builder().name(name).values(address.as_str()).build();
    let answer = clients.reads.describe_addresses().filters(named).send().await.map_err(|e| error::sorted(&e))?;
    let Some(known) = answer.addresses().first() else { return Err(no_such_address(address)) };
    let ip = known.public_ip().unwrap_or_default().to_owned();
    let with = known.instance_id().filter(|id| !id.is_empty());
    if with == Some(to.as_str()) {
        return Ok(ip);
    }
    if with.is_some() || known.association_id().is_some_and(|id| !id.is_empty()) {
        return Err(already_associated(address, with.and_then(|id| id.parse().ok()).as_ref()));
    }
    let call = clients
        .writes
        .associate_address()
        .set_allocation_id(known.allocation_id().map(ToOwned::to_owned))
        .instance_id(to.as_str());
    // Between the question and this call another may have taken it: then EC2 shall refuse.
    let done = call.allow_reassociation(false).send().await;
    done.map(|_| ip).map_err(|e| for_equipment(error::sorted(&e)))
}

/// A volume that is attached by this call stays when its instance ends.
pub(super) async fn attach(clients: &Clients, volume: &DataVolume, to: &InstanceId) -> Result<(), CloudError> {
    let call = clients.writes.attach_volume().volume_id(volume.id.as_str()).device(&volume.device);
    let done = call.instance_id(to.as_str()).send().await;
    done.map(drop).map_err(|e| for_equipment(error::sorted(&e)))
}

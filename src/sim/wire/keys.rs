//! Key pairs.

use super::call::{Call, done};
use super::filter::{TAGS, Values};
use super::instances::tags;
use super::launch;
use super::query::missing;
use super::xml::Xml;
use crate::sim::error::ApiError;
use crate::sim::key::KeyPair;
use crate::sim::site::Site;

pub(super) fn describe(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let filters = call.filters(&[TAGS, "key-name", "key-pair-id", "fingerprint"])?;
    let (names, ids) = (call.query.texts("KeyName"), call.query.texts("KeyPairId"));
    for name in &names {
        site.key(name)?;
    }
    if let Some(unknown) = ids.iter().find(|id| site.keys.values().all(|key| key.id != **id)) {
        let message = format!("The key pair '{unknown}' does not exist");
        return Err(ApiError::client("InvalidKeyPair.NotFound", message));
    }
    let fitting = site.keys.values().filter(|key| {
        let named = (names.is_empty() && ids.is_empty())
            || names.contains(&key.name.as_str())
            || ids.contains(&key.id.as_str());
        named
            && filters.pass(&key.tags, |name| match name {
                "key-name" => (&key.name).into(),
                "key-pair-id" => (&key.id).into(),
                "fingerprint" => (&key.fingerprint).into(),
                _ => Values::none(),
            })
    });
    let mut xml = Xml::default();
    xml.set("keySet", fitting, |xml, key| {
        about(xml, key);
        xml.text("keyType", &key.kind).time("createTime", key.created);
    });
    Ok(xml)
}

fn about(xml: &mut Xml, key: &KeyPair) {
    xml.text("keyPairId", &key.id).text("keyName", &key.name).text("keyFingerprint", &key.fingerprint);
    tags(xml, &key.tags);
}

pub(super) fn create(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let (name, kind) = (call.query.required("KeyName")?, call.query.filled("KeyType").unwrap_or("rsa"));
    if !matches!(kind, "rsa" | "ed25519") {
        return Err(call.query.invalid("KeyType", kind, "It must be rsa or ed25519."));
    }
    let own = launch::tags_for(call.query, "key-pair")?;
    call.permitted()?;
    let key = site.add_key(name, kind, own, call.now)?;
    let mut xml = Xml::default();
    about(&mut xml, key);
    // Nothing here can be logged into: the text has the form of a key, and opens nothing.
    let body = super::base64(format!("latent sim: a key that opens nothing: {}", key.fingerprint).as_bytes());
    xml.text("keyMaterial", format!("-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----"));
    Ok(xml)
}

pub(super) fn import(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let name = call.query.required("KeyName")?;
    let material = call.query.required("PublicKeyMaterial")?;
    let own = launch::tags_for(call.query, "key-pair")?;
    call.permitted()?;
    // The base64 of "ssh-ed25519".
    let kind = if material.starts_with("c3NoLWVkMjU1MTk") { "ed25519" } else { "rsa" };
    let key = site.add_key(name, kind, own, call.now)?;
    let mut xml = Xml::default();
    about(&mut xml, key);
    Ok(xml)
}

pub(super) fn delete(call: &Call<'_>, site: &mut Site) -> Result<Xml, ApiError> {
    let named =
        call.query.filled("KeyName").or_else(|| call.query.filled("KeyPairId")).ok_or_else(|| missing("KeyName"))?;
    call.permitted()?;
    let gone = site.delete_key(named);
    let mut xml = done();
    xml.opt("keyPairId", gone.map(|key| key.id));
    Ok(xml)
}

//! What is shown of messages.

use chrono::{DateTime, Utc};

use crate::control::{ContactView, DeliveryView, NoticesView};
use crate::plan::alarm::{Channel, Kept, addressees};
use crate::policy::{Intent, MailWay};

/// Who is told of what and where.
pub fn contacts(intent: &Intent) -> Vec<ContactView> {
    let settings = &intent.notify;
    let views = addressees(intent).into_iter().map(|(who, addressee, channels)| ContactView {
        who: who.to_string(),
        places: channels.iter().map(|channel| place(intent, channel)).collect(),
        classes: addressee.classes.iter().copied().collect(),
        quiet_hours: addressee.quiet_hours.or(settings.quiet_hours).map(|window| window.to_string()),
        down_after_s: addressee.down_after.or(settings.down_after).map(|span| span.num_seconds()),
    });
    views.collect()
}

/// A place in words; of a webhook its form, and what of its address may be shown.
fn place(intent: &Intent, channel: &Channel) -> String {
    match channel {
        Channel::Mail(_) => channel.to_string(),
        Channel::Webhook(name) => match intent.notify.webhooks.get(name) {
            Some(hook) => format!("{channel} ({}, {})", hook.format, hook.url),
            None => channel.to_string(),
        },
    }
}

/// All that is shown.
pub fn view_of(
    now: DateTime<Utc>,
    intent: &Intent,
    kept: &Kept,
    deliveries: Vec<DeliveryView>,
    problems: Vec<String>,
) -> NoticesView {
    let mail = intent.notify.mail.as_ref().map(|way| match way {
        MailWay::Smtp(smtp) => format!("by {}:{} ({}), from {}", smtp.host, smtp.port, smtp.tls, smtp.from),
        MailWay::Sendmail { command, from } => format!("by {}, from {from}", command.join(" ")),
    });
    let open = kept.alarms.values().filter(|alarm| !alarm.over).map(|alarm| alarm.notice.clone()).collect();
    NoticesView { now, mail, contacts: contacts(intent), open, deliveries, problems }
}

//! What people are told, and when: values in, values out.
//!
//! [`Pulse`] folds the ledger into how long each worker is wanted and not connected, and how long that usually
//! takes. [`judge`] makes of what is seen [`Condition`]s, which last, and [`Happening`]s, which do not. [`step`]
//! holds them against what was told before, and gives the messages that are due: once for each subject, together
//! where several come at once, not at night unless it is urgent, and so many a day at most.

mod book;
mod fact;
mod judge;
mod mailbox;
mod notice;
mod pulse;
mod retry;
mod step;
mod summary;
mod text;

pub use book::{Alarm, Alarms};
pub use fact::{
    BudgetFact, CellFact, DeliveryFact, Facts, ImageFact, LeftoverFact, RebakeFact, RebakeTurn, Refusal, WorkerFact,
};
pub use judge::{Condition, Happening, Verdict, judge};
pub use mailbox::{Channel, Mailbox, Post, Who, addressees};
pub use notice::{Notice, NoticePhase};
pub use pulse::{Crossing, Down, Ended, Failing, Pulse, WorkerPulse};
pub use retry::{Outcome, give_up, next_attempt};
pub use step::{Kept, Stepped, step};
pub use text::{body, clean, subject};

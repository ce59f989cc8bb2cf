//! What masters ask at the same time is one write of the ledger: each waits for the write before it, and those that
//! came meanwhile go together.

use tokio::sync::{mpsc, oneshot};

use crate::control::{Ask, ControlError, Controller};
use crate::ledger::Ledger;
use crate::model::{Actor, WorkerName};

/// So many may wait for the write before theirs; more wait before they are taken in.
const WAITING_MAX: usize = 1024;

type Asked = (Actor, WorkerName, Ask, oneshot::Sender<Result<(), ControlError>>);

/// Where what is asked is handed in.
#[derive(Debug, Clone)]
pub(super) struct Scribe(mpsc::Sender<Asked>);

impl Scribe {
    /// One who writes what is asked until nobody can ask any more.
    pub(super) fn of<L: Ledger + 'static>(controller: Controller<L>) -> Self {
        let (sender, mut asked) = mpsc::channel(WAITING_MAX);
        tokio::spawn(async move {
            let mut batch = Vec::with_capacity(WAITING_MAX);
            while asked.recv_many(&mut batch, WAITING_MAX).await > 0 {
                write(&controller, &mut batch);
            }
        });
        Self(sender)
    }

    /// Takes in what is asked of a worker. When it returns, that survives a crash.
    pub(super) async fn ask(&self, actor: Actor, worker: WorkerName, ask: Ask) -> Result<(), ControlError> {
        let (reply, answer) = oneshot::channel();
        if self.0.send((actor, worker, ask, reply)).await.is_err() {
            return Err(ControlError::Ending);
        }
        answer.await.unwrap_or(Err(ControlError::Ending))
    }
}

/// Writes all of them, in their order.
fn write<L: Ledger + 'static>(controller: &Controller<L>, batch: &mut Vec<Asked>) {
    let mut rest = std::mem::take(batch).into_iter().peekable();
    while let Some(first) = rest.next() {
        let mut group = vec![first];
        while let Some(next) = rest.next_if(|next| goes_with(&group, next)) {
            group.push(next);
        }
        write_group(controller, group);
    }
}

/// One write is of one actor, and speaks of a worker once: what is asked of it after that follows from this.
fn goes_with(group: &[Asked], next: &Asked) -> bool {
    group.iter().all(|(actor, worker, _, _)| *actor == next.0 && *worker != next.1)
}

fn write_group<L: Ledger + 'static>(controller: &Controller<L>, group: Vec<Asked>) {
    let Some(actor) = group.first().map(|(actor, ..)| actor.clone()) else { return };
    let asked: Vec<(WorkerName, Ask)> = group.iter().map(|(_, worker, ask, _)| (worker.clone(), ask.clone())).collect();
    let answers = match controller.ask_together(&actor, &asked) {
        Ok(answers) => answers,
        // Each is told what is wrong with the ledger, and has it tried once more for itself.
        Err(_) => asked.iter().map(|(worker, ask)| controller.ask(&actor, worker, ask)).collect(),
    };
    for ((.., reply), answer) in group.into_iter().zip(answers) {
        // Who has gone away meanwhile asks again.
        drop(reply.send(answer));
    }
}

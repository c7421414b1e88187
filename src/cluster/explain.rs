//! Why a coordinator does what it does, as data.

use std::collections::BTreeMap;

use super::facts::{Facts, Standing};
use super::key::ProxyName;
use super::lineage::Kinship;
use super::records::{Operation, Phase, Status};
use super::situation::Situation;
use super::wait::Wait;
use crate::topology::NodeName;

/// What a coordinator makes of things.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// Whether this coordinator is the active one.
    pub active: bool,
    /// Who is, as far as the store was read.
    pub coordinator: Option<ProxyName>,
    /// The term, its phase and its leader.
    pub term: Option<(u64, Phase, NodeName)>,
    /// The operation under way.
    pub operation: Option<Operation>,
    /// What keeps things back, when this coordinator is the active one.
    pub waits: Vec<Wait>,
    /// What the nodes are.
    pub nodes: BTreeMap<NodeName, Status>,
}

/// Says in a word and a line what each member is.
pub(super) fn nodes(s: &Situation<'_>) -> BTreeMap<NodeName, Status> {
    s.members().map(|(name, _)| (name.clone(), status(s, name))).collect()
}

fn status(s: &Situation<'_>, name: &NodeName) -> Status {
    let known = s.known(name);
    let trouble = known.and_then(|known| known.trouble.clone()).unwrap_or_default();
    let said = |role: &str, note: String| Status { role: role.to_owned(), note };
    let Some(facts) = known.filter(|known| known.answers()).and_then(|known| known.last_facts()) else {
        return said("lost", trouble);
    };
    let own = s.view.identity().is_none_or(|own| own.system_identifier == facts.system_identifier);
    if !own {
        let wait = Wait::Stranger { node: name.clone(), system_identifier: facts.system_identifier };
        return said("stranger", wait.to_string());
    }
    match &facts.standing {
        Standing::Primary { .. } if *name == s.term.leader && facts.lineage == s.term.lineage => {
            let role = if s.is_frozen() { "frozen" } else { "leader" };
            said(role, trouble)
        }
        // Its term opens any moment.
        Standing::Primary { .. } if s.is_chosen(name) => said("recruited", trouble),
        Standing::Primary { .. } => said("stray", Wait::Stray { node: name.clone() }.to_string()),
        Standing::Standby(_) => follower(s, name, facts, trouble),
    }
}

fn follower(s: &Situation<'_>, name: &NodeName, facts: &Facts, trouble: String) -> Status {
    let said = |role: &str, note: String| Status { role: role.to_owned(), note };
    if s.is_suspect(name, &facts.lineage) {
        return said("suspect", Wait::Suspect { node: name.clone() }.to_string());
    }
    match s.kinship(facts) {
        Kinship::Same(_) | Kinship::Ancestor(_) => {
            let recruited = matches!(
                facts.standby().map(|standby| &standby.upstream),
                Some(super::facts::Upstream::DeadEnd { .. })
            );
            said(if recruited { "recruited" } else { "follower" }, trouble)
        }
        kinship => said("diverged", Wait::OtherHistory { node: name.clone(), kinship }.to_string()),
    }
}

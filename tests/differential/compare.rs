//! Two transcripts of one script: what differs, and how that is shown.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::grounds::Way;
use crate::run::{Told, Transcript};

/// Differences that are meant, with their reasons. Each must be seen, unless a `~` says that chance decides.
pub struct ByDesign {
    entries: Vec<Entry>,
    seen: BTreeSet<usize>,
}

struct Entry {
    script: String,
    step: String,
    line: usize,
    by_chance: bool,
}

impl ByDesign {
    /// Reads `SCRIPT | STEP | WHY`: the beginning of each (`*` is any), on lines of their own.
    pub fn read(text: &str) -> ByDesign {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let entries = lines.map(|(index, line)| {
            let parts: Vec<&str> = line.split(" | ").map(str::trim).collect();
            let [script, step, _why] = parts[..] else {
                panic!("by_design.txt:{}: not `SCRIPT | STEP | WHY`", index + 1);
            };
            let (by_chance, script) = script.strip_prefix("~ ").map_or((false, script), |rest| (true, rest));
            let step = if step == "*" { "" } else { step };
            Entry { script: script.to_owned(), step: step.to_owned(), line: index + 1, by_chance }
        });
        ByDesign { entries: entries.collect(), seen: BTreeSet::new() }
    }

    fn covers(&mut self, script: &str, step: &str) -> bool {
        let fits = |entry: &Entry| script.starts_with(&entry.script) && step.starts_with(&entry.step);
        let found = self.entries.iter().position(fits);
        self.seen.extend(found);
        found.is_some()
    }

    /// Entries that nothing needed.
    pub fn stale(&self) -> Vec<String> {
        let entries = self.entries.iter().enumerate().filter(|(_, entry)| !entry.by_chance);
        let stale = entries.filter(|(index, _)| !self.seen.contains(index));
        stale.map(|(_, entry)| format!("by_design.txt:{}: nothing differs there", entry.line)).collect()
    }
}

/// Says what was told otherwise on the way than directly; `None` if nothing was.
pub fn difference(
    script: &str,
    way: Way,
    direct: &Transcript,
    through: &Transcript,
    by_design: &mut ByDesign,
) -> Option<String> {
    let mut shown = String::new();
    for (there, here) in direct.iter().zip(through) {
        if there != here && !by_design.covers(script, &there.step) {
            let _ = writeln!(shown, "  {}", there.step.replace('\n', " "));
            shown.push_str(&side_by_side(there, here));
        }
    }
    if direct.len() != through.len() {
        let _ = writeln!(shown, "  {} steps, not {}", through.len(), direct.len());
    }
    (!shown.is_empty()).then(|| format!("{script}, {way:?}:\n{shown}"))
}

/// The lines from one before the first that differs to one behind the last.
fn side_by_side(there: &Told, here: &Told) -> String {
    const WIDTH: usize = 90;
    let (left, right) = (&there.lines, &here.lines);
    let same = |pair: &(&String, &String)| pair.0 == pair.1;
    let front = left.iter().zip(right).take_while(same).count();
    let back = left.iter().rev().zip(right.iter().rev()).take_while(same).count();
    let back = back.min(left.len().min(right.len()) - front);
    let rows = front.saturating_sub(1)..(left.len().max(right.len()) - back + 1).min(front + 12);
    let mut shown = String::new();
    for row in rows {
        let at = |lines: &[String]| lines.get(row).cloned().unwrap_or_default();
        let (left, right) = (at(left), at(right));
        let mark = if left == right { ' ' } else { '!' };
        if left.chars().count() <= WIDTH {
            let _ = writeln!(shown, "  {mark} {left:WIDTH$} | {right}");
        } else {
            let _ = writeln!(shown, "  {mark} direct:  {left}\n  {mark} through: {right}");
        }
    }
    shown
}

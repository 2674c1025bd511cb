//! The results as Markdown.

use crate::{
    findings::Findings,
    rig::{Judgement, Objection},
};

/// Formats the table of all crates, and then the failures of each crate with their causes.
pub(crate) fn of(crates: &[Findings]) -> String {
    let names: Vec<_> = crates.iter().map(|one| one.name).collect();
    let mut lines = vec![
        format!("| | | {} |", names.join(" | ")),
        format!("|--:|---{}|", "|:-:".repeat(crates.len())),
    ];
    for (index, (behaviour, _)) in crates[0].judgements.iter().enumerate() {
        let cells: Vec<_> = crates
            .iter()
            .map(|one| cell(&one.judgements[index].1))
            .collect();
        lines.push(format!(
            "| {} | {} | {} |",
            behaviour.row,
            behaviour.is,
            cells.join(" | ")
        ));
    }
    for one in crates {
        lines.extend([String::new(), format!("### {}", one.name), String::new()]);
        for (row, seen) in one.failures() {
            let cause = one.cause(row).unwrap_or("(no cause in `CAUSES`)");
            lines.push(format!("- **{row}**: {seen}. {cause}"));
        }
        for alike in one.not_applicable().chunk_by(|one, next| one.1 == next.1) {
            let rows: Vec<_> = alike.iter().map(|(row, _)| *row).collect();
            lines.push(format!("- {} n/a: it {}.", rows.join(", "), alike[0].1));
        }
    }
    lines.join("\n") + "\n"
}

fn cell(judgement: &Judgement) -> &'static str {
    match judgement {
        Ok(()) => "pass",
        Err(Objection::Fails(_)) => "**FAIL**",
        Err(Objection::NotApplicable(_)) => "n/a",
    }
}

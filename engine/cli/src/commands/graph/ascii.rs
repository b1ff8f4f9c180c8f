use refit_engine::graph::split_output;
use renderdag::{Ancestor, GraphRowRenderer, Renderer};

use super::flow::{Edge, Flow, Node, What};
use crate::ui::Table;

/// The sources, then one line a stage with its inputs, and rails from each stage to whatever reads its results.
///
/// Sources have no rails: a base model is read by nearly every stage, and its rails would hide all others.
pub(super) fn draw(flow: &Flow, paint: impl Fn(&str, &str) -> String) -> String {
    let mut sources = Table::new();
    let mut renderer = GraphRowRenderer::new().output().with_min_row_height(0).build_box_drawing();
    let mut stages = String::new();
    for node in &flow.nodes {
        match &node.what {
            What::Source { uri } => {
                sources.row(["○".to_owned(), paint(&node.name, "36"), paint(uri, "2")]);
            }
            What::Stage { kind, .. } => {
                // The renderer draws towards ancestors; here the rails lead down to who reads the result.
                let readers = readers(flow, node).into_iter().map(|name| Ancestor::Parent(name.to_owned())).collect();
                let message = message(flow, node, kind, &paint);
                stages.push_str(&renderer.next_row(node.name.clone(), readers, "●".into(), message));
            }
        }
    }
    let mut lines = sources.lines();
    if !lines.is_empty() {
        lines.push(String::new());
    }
    lines.extend(stages.lines().map(|line| line.trim_end().to_owned()));
    lines.join("\n")
}

fn readers<'f>(flow: &'f Flow, node: &Node) -> Vec<&'f str> {
    let mut readers: Vec<&str> = Vec::new();
    for edge in flow.edges.iter().filter(|edge| edge.from == node.name) {
        if !readers.contains(&edge.to.as_str()) {
            readers.push(&edge.to);
        }
    }
    readers
}

/// `train  train-lora  model ← base, tokens ← tokens.tokens  ⇒ out/adapter`.
fn message(flow: &Flow, node: &Node, kind: &str, paint: &impl Fn(&str, &str) -> String) -> String {
    let input = |edge: &Edge| {
        let origin = edge.origin();
        if origin == edge.input { origin } else { format!("{} ← {origin}", edge.input) }
    };
    let inputs: Vec<String> = flow.edges.iter().filter(|edge| edge.to == node.name).map(input).collect();
    let made_here = |from: &str| split_output(from).is_some_and(|(stage, _)| stage == node.name);
    let copied: Vec<String> = flow
        .outputs
        .iter()
        .filter(|copied| made_here(&copied.from))
        .map(|copied| format!("  ⇒ {}", copied.to))
        .collect();
    let kind = if kind == node.name { String::new() } else { format!("  {}", paint(kind, "2")) };
    format!("{}{kind}  {}{}", paint(&node.name, "1"), inputs.join(", "), paint(&copied.concat(), "32"))
}

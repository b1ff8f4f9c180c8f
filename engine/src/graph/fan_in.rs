//! References to the copies of a stage, one or many, and lists of references.

use super::{
    InputRef, Part,
    lower::Lowering,
    matrix::{Choice, Selector, StageCopy, Template, file_name},
    wiring::Resolved,
};
use crate::{
    source::{Mistake, Path, Span, choice, did_you_mean, list},
    stage::InputPort,
};

impl Lowering<'_> {
    /// Follows a reference to copies of the stage `template`, written in the stage `own`.
    pub(super) fn resolve_copies(
        &mut self,
        own: &str,
        path: &Path,
        text: &str,
        template: &str,
        selector: &Selector,
        port: &str,
    ) -> Option<Resolved> {
        let Some(found) = self.copies.get(template) else {
            if !self.stage_kinds.contains_key(template) {
                return self.resolve_output(path, template, port);
            }
            let message = format!("the stage `{template}` has no matrix, so there are no copies of it to choose from");
            let help = format!("write `{template}.{port}`, or give `{template}` a `matrix`");
            return self.leads_nowhere("pipeline::no_matrix", message, path, "a stage without copies", help);
        };
        let own = self.copy_of.get(own).map(AsRef::as_ref);
        let (first, parts): (&StageCopy, _) = match found.choose(selector, own) {
            Choice::One(copy) => (copy, None),
            Choice::Many(copies) => {
                let parts = copies.iter().map(|copy| Part {
                    name: file_name(&copy.plain()),
                    stage: copy.name.clone(),
                    port: port.to_owned(),
                });
                let mut parts: Vec<Part> = parts.collect();
                parts.sort_unstable();
                (copies[0], Some(parts))
            }
            Choice::None => return self.no_copy(path, text, template, own.map(|own| own.name.clone())),
            Choice::Several(number) => return self.several(path, text, template, port, number),
            Choice::UnknownAxis(axis) => return self.unknown_axis(path, template, &axis),
        };
        let name = first.name.clone();
        let resolved = self.resolve_output(path, &name, port)?;
        Some(match parts {
            None => resolved,
            Some(parts) => Resolved { from: InputRef::Many { written: text.to_owned(), parts }, ..resolved },
        })
    }

    /// Follows a list of references: every item is an entry of the folder, named as it is written.
    pub(super) fn list(
        &mut self,
        own: &str,
        path: &Path,
        texts: &[String],
        wanted: Option<&InputPort>,
    ) -> Option<Resolved> {
        let mut all: Vec<(Part, usize)> = Vec::new();
        let mut artifact = None;
        let mut good = true;
        for (index, text) in texts.iter().enumerate() {
            let Some(resolved) = self.resolve(own, &path.join(index), text, wanted) else {
                good = false;
                continue;
            };
            if let InputRef::Source(name) = &resolved.from {
                let message = format!("`{name}` is a source, and a list takes outputs of stages");
                let help = "wire it to an input of its own".to_owned();
                self.leads_nowhere("pipeline::source_in_list", message, &path.join(index), "a source", help);
                good = false;
            }
            let fits = |artifact| wanted.is_none_or(|wanted| wanted.kinds.contains(&artifact));
            if resolved.artifact.is_some_and(|found| artifact.is_none() || !fits(found)) {
                artifact = resolved.artifact;
            }
            for (stage, port) in resolved.from.outputs() {
                let plain = self.copy_of.get(stage).map(|copy| format!("{}[{}]", copy.template, copy.plain()));
                let name = file_name(&format!("{}.{port}", plain.as_deref().unwrap_or(stage)));
                all.push((Part { name, stage: stage.to_owned(), port: port.to_owned() }, index));
            }
        }
        all.sort_unstable();
        for pair in all.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
            let message = format!("`{}.{}` is in this list twice", pair[0].0.stage, pair[0].0.port);
            let labels = self.places.value(&path.join(pair[1].1), "again here");
            let first = self.places.span(&path.join(pair[0].1));
            let mut mistake = Mistake::new("pipeline::duplicate_input", message).with_labels(labels);
            if pair[0].1 != pair[1].1 {
                mistake = mistake.at(first, "first here");
            }
            self.mistakes.push(mistake.help("name every output once"));
            good = false;
        }
        if texts.is_empty() {
            let labels = self.places.value(path, "empty");
            let mistake = Mistake::new("pipeline::out_of_range", "an input must not be an empty list");
            self.mistakes.push(mistake.with_labels(labels).help("name an output: `[STAGE.PORT]`"));
            good = false;
        }
        let parts = all.into_iter().map(|(part, _)| part).collect();
        good.then(|| Resolved { from: InputRef::Many { written: texts.join(", "), parts }, artifact })
    }

    fn made_here(&self, template: &str) -> (Span, String) {
        let at = self.copies.get(template).map(|template| template.at).unwrap_or_default();
        (at, format!("makes the copies of `{template}`"))
    }

    fn names(&self, template: &str) -> Vec<String> {
        self.copies.get(template).into_iter().flat_map(Template::names).take(13).map(str::to_owned).collect()
    }

    fn no_copy(&mut self, path: &Path, text: &str, template: &str, own: Option<String>) -> Option<Resolved> {
        let names = self.names(template);
        let (at, label) = self.made_here(template);
        let message = match own {
            Some(own) if !text.contains('[') => format!("`{text}` is no copy with the values of `{own}`"),
            _ => format!("no copy of `{template}` is `{text}`"),
        };
        let mistake = Mistake::new("pipeline::no_copy", message)
            .with_labels(self.places.value(path, "no such copy"))
            .at(at, label)
            .help(format!("the copies are {}", list(names.iter().map(String::as_str))));
        self.mistakes.push(mistake);
        None
    }

    fn several(&mut self, path: &Path, text: &str, template: &str, port: &str, number: usize) -> Option<Resolved> {
        let (at, label) = self.made_here(template);
        let example = self.names(template).into_iter().next().unwrap_or_default();
        let mistake = Mistake::new(
            "pipeline::several_copies",
            format!("`{text}` is {number} copies, and one is needed"),
        )
        .with_labels(self.places.value(path, format!("{number} copies")))
        .at(at, label)
        .help(format!(
            "choose one: `{example}.{port}`; take all where many are taken: `{template}[*].{port}`; or give this stage \
                 `matrix: {template}`, to have a copy for each"
        ));
        self.mistakes.push(mistake);
        None
    }

    fn unknown_axis(&mut self, path: &Path, template: &str, axis: &str) -> Option<Resolved> {
        let (at, label) = self.made_here(template);
        let axes: Vec<String> =
            self.copies.get(template).into_iter().flat_map(|found| &found.axes).map(ToString::to_string).collect();
        let axes = || axes.iter().map(String::as_str);
        let help = did_you_mean(axis, axes()).unwrap_or_else(|| format!("name a value of {}", choice(axes())));
        let mistake =
            Mistake::new("pipeline::unknown_axis", format!("the matrix of `{template}` has no axis `{axis}`"))
                .with_labels(self.places.value(path, "unknown axis"))
                .at(at, label)
                .help(help);
        self.mistakes.push(mistake);
        None
    }
}

use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use refit_checkpoint::{AttentionForm, ModelConfig};

use crate::model::{AttentionShape, HIDDEN, Sizes, bias, capped, indices};

/// Keys and values of one layer: the prompts', which never change, and the answers', which grow by one a step.
///
/// The two stay apart so that a step appends to the short part only, and never copies the long one. On a GPU the short part has
/// room for more tokens than there are, so that most steps copy nothing and find the kernels of the step before.
#[derive(Debug, Clone)]
pub(super) struct LayerCache {
    /// `[rows, key heads, longest prompt, d]` each.
    prompt: [Tensor<4>; 2],
    /// `[rows, key heads, room, d]` each, after the first step.
    answer: Option<[Tensor<4>; 2]>,
}

/// Which of the packed prompt tokens belong to which row of the cache.
pub(super) struct PromptLayout {
    /// Row of `[tokens · key heads, d]` for row, key head, place in the prompt.
    at: Tensor<1, Int>,
    /// `[rows, 1, 1, longest prompt]`: hides what pads the shorter prompts.
    mask: Tensor<4>,
    /// Tokens of each row's prompt.
    lengths: Vec<usize>,
    /// Places that each row has for its prompt.
    longest: usize,
    /// Tokens of the answers so far, that of this step included.
    steps: usize,
    /// Places that each row has for its answer.
    room: usize,
    /// `[1, 1, 1, room]`: hides the places to come, if there are such.
    to_come: Option<Tensor<4>>,
    sizes: Sizes,
    shape: AttentionShape,
    form: AttentionForm,
    /// The window of each form of block.
    windows: Vec<Option<usize>>,
}

impl PromptLayout {
    /// `tokens[row]` are the packed places of a row's prompt, in order.
    pub(super) fn new(tokens: &[Vec<usize>], sizes: Sizes, config: &ModelConfig, device: &Device) -> Self {
        let shape = AttentionShape::of(config);
        let longest = sizes.of(tokens.iter().map(Vec::len).max().unwrap_or(0));
        let mut at = Vec::with_capacity(tokens.len() * shape.key_heads * longest);
        let mut mask = vec![0_f32; tokens.len() * longest];
        for (row, places) in tokens.iter().enumerate() {
            for head in 0..shape.key_heads {
                at.extend(places.iter().map(|token| (token * shape.key_heads + head) as u32));
                at.resize(at.len() + longest - places.len(), 0);
            }
            mask[row * longest + places.len()..(row + 1) * longest].fill(HIDDEN);
        }
        Self {
            at: indices(&at, device),
            mask: Tensor::from_data(TensorData::new(mask, [tokens.len(), 1, 1, longest]), device),
            lengths: tokens.iter().map(Vec::len).collect(),
            longest,
            steps: 0,
            room: 0,
            to_come: None,
            sizes,
            shape,
            form: config.attention.clone(),
            windows: config.layer_forms.iter().map(|form| form.window).collect(),
        }
    }

    /// Brings packed keys and values `[tokens, key heads, d]` into the cache's form.
    pub(super) fn cache(&self, keys: Tensor<3>, values: Tensor<3>) -> LayerCache {
        let AttentionShape { key_heads, head_dim, .. } = self.shape;
        let dense = |x: Tensor<3>| {
            let tokens = x.dims()[0];
            let rows = x.reshape([tokens * key_heads, head_dim]).select(0, self.at.clone());
            rows.reshape([self.lengths.len(), key_heads, self.longest, head_dim])
        };
        LayerCache { prompt: [dense(keys), dense(values)], answer: None }
    }

    /// Makes place for one token more in each row.
    pub(super) fn begin_step(&mut self) {
        self.steps += 1;
        self.room = self.sizes.of(self.steps);
        self.to_come = (self.room > self.steps).then(|| {
            let hides: Vec<f32> = (0..self.room).map(|place| if place < self.steps { 0.0 } else { HIDDEN }).collect();
            Tensor::from_data(TensorData::new(hides, [1, 1, 1, self.room]), &self.mask.device())
        });
    }

    /// What is known of the answers and, at its place, what the newest token adds.
    fn append(&self, known: Option<Tensor<4>>, newest: Tensor<4>) -> Tensor<4> {
        let [rows, key_heads, _, d] = newest.dims();
        let (held, before) = (known.as_ref().map_or(0, |known| known.dims()[2]), self.steps - 1);
        // What is there fills its room, and will with one token more.
        if held == before && self.room == self.steps {
            return Tensor::cat(known.into_iter().chain([newest]).collect(), 2);
        }
        let more = self.room - held;
        let more = (more > 0).then(|| Tensor::zeros([rows, key_heads, more, d], &newest.device()));
        let roomy = Tensor::cat(known.into_iter().chain(more).collect(), 2);
        roomy.slice_assign([0..rows, 0..key_heads, before..self.steps, 0..d], newest)
    }

    /// The layout of the rows at `kept`.
    pub(super) fn keep(&mut self, kept: &[u32]) {
        let device = self.mask.device();
        self.mask = self.mask.clone().select(0, indices(kept, &device));
        self.lengths = kept.iter().map(|row| self.lengths[*row as usize]).collect();
    }

    /// What is added to the scores of a block beside the masks, for the newest token of each answer:
    /// `[rows, 1 or key heads, 1 or heads per key head, longest prompt + room]`; nothing where it sees everything.
    fn bias(&self, layer: usize) -> Option<Tensor<4>> {
        let Self { steps, room, .. } = *self;
        let window = self.windows[layer % self.windows.len()].filter(|window| *window < self.longest + steps);
        if window.is_none() && self.form.slopes.is_none() {
            return None;
        }
        let slopes = self.form.slopes.as_deref().unwrap_or(&[0.0]);
        let keys = self.longest + room;
        let mut values = Vec::with_capacity(self.lengths.len() * slopes.len() * keys);
        for length in &self.lengths {
            let query = length + steps - 1;
            for slope in slopes {
                // What pads a prompt, and the places to come, are hidden by masks; they may stand at any position here.
                values.extend((0..self.longest).map(|key| bias(query, key.min(query), window, *slope)));
                values.extend((0..room).map(|step| bias(query, (length + step).min(query), window, *slope)));
            }
        }
        let heads = if self.form.slopes.is_some() { self.shape.key_heads } else { 1 };
        let shape = [self.lengths.len(), heads, slopes.len() / heads, keys];
        Some(Tensor::from_data(TensorData::new(values, shape), &self.mask.device()))
    }
}

impl LayerCache {
    /// Adds one token a row and attends to all so far: queries `[rows, heads, d]` (scaled), keys and values
    /// `[rows, key heads, d]`, to `[rows, heads · d]`.
    pub(super) fn attend(
        &mut self,
        layout: &PromptLayout,
        layer: usize,
        query: Tensor<3>,
        key: Tensor<3>,
        value: Tensor<3>,
    ) -> Tensor<2> {
        let AttentionShape { heads, key_heads, head_dim } = layout.shape;
        let rows = query.dims()[0];
        let [key, value] = [key, value].map(|x| x.reshape([rows, key_heads, 1, head_dim]));
        let [keys, values] = self.extended(layout, [key, value]);
        let query = query.reshape([rows, key_heads, heads / key_heads, head_dim]);
        let [prompt_keys, prompt_values] = &self.prompt;
        let cap = layout.form.cap;
        let to_prompt = capped(query.clone().matmul(prompt_keys.clone().swap_dims(2, 3)), cap) + layout.mask.clone();
        let to_answer = capped(query.matmul(keys.clone().swap_dims(2, 3)), cap);
        let to_answer = match &layout.to_come {
            Some(hides) => to_answer + hides.clone(),
            None => to_answer,
        };
        let scores = Tensor::cat(vec![to_prompt, to_answer], 3);
        let scores = match layout.bias(layer) {
            Some(bias) => scores + bias,
            None => scores,
        };
        let weights = activation::softmax(scores, 3);
        let of_prompt = weights.clone().narrow(3, 0, layout.longest).matmul(prompt_values.clone());
        let of_answer = weights.narrow(3, layout.longest, layout.room).matmul(values.clone());
        self.answer = Some([keys, values]);
        (of_prompt + of_answer).reshape([rows, heads * head_dim])
    }

    /// Keys and values of the answers with those of the newest token, `[rows, key heads, 1, d]` each.
    fn extended(&mut self, layout: &PromptLayout, [key, value]: [Tensor<4>; 2]) -> [Tensor<4>; 2] {
        let (keys, values) = self.answer.take().map_or((None, None), |[keys, values]| (Some(keys), Some(values)));
        [layout.append(keys, key), layout.append(values, value)]
    }

    /// Keeps the rows at `kept` only.
    pub(super) fn keep(&mut self, kept: &Tensor<1, Int>) {
        let select = |x: &Tensor<4>| x.clone().select(0, kept.clone());
        self.prompt = [select(&self.prompt[0]), select(&self.prompt[1])];
        self.answer = self.answer.take().map(|[keys, values]| [select(&keys), select(&values)]);
    }
}

use rayon::prelude::*;
use refit_checkpoint::HostTensor;

use super::Adapter;

impl Adapter {
    /// Adds the update of a weight to its numbers, in f32: V = W + s·B·A, and in `DoRA` each row of V brought to the length m. `name`
    /// is the weight's Hugging Face name; those without an update stay as they are.
    pub fn merge_into(&self, name: &str, weight: &mut HostTensor) {
        let path = name.strip_suffix(".weight");
        let Some(module) = self.modules().find(|module| path == Some(&module.a.path)) else { return };
        let ([rank, width], scale) = (module.a.shape, self.config.scale() as f32);
        let (a, b) = (&self.values[module.a.range()], &self.values[module.b.range()]);
        let lengths = module.magnitude.map(|magnitude| &self.values[magnitude.range()]);
        weight.values.par_chunks_mut(width).zip(b.par_chunks(rank)).enumerate().for_each(|(at, (row, b))| {
            let mut update = vec![0f32; width];
            for (b, a) in b.iter().zip(a.chunks_exact(width)) {
                update.iter_mut().zip(a).for_each(|(sum, a)| *sum += b * a);
            }
            row.iter_mut().zip(&update).for_each(|(value, update)| *value += scale * update);
            if let Some(lengths) = lengths {
                let squares: f64 = row.iter().map(|value| f64::from(*value).powi(2)).sum();
                let share = (f64::from(lengths[at]) / squares.sqrt()) as f32;
                for value in row {
                    *value *= share;
                }
            }
        });
    }
}

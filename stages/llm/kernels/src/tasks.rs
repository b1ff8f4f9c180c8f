//! How the rows of a result are cut into tasks, so that all threads end together.

use std::ops::Range;

use rayon::prelude::*;

use crate::weight::TILE;

/// Tasks for each thread, so that one that was held up does not hold up all.
pub(crate) const TASKS_PER_THREAD: usize = 4;

/// Tiles of rows in a shrinking task, at most: so many rows of some columns stay in a cache of its core until all tokens have met them.
const MOST_TILES: usize = 24;

/// Tiles of rows in a shrinking task, if there are as many.
const LEAST_TILES: usize = 3;

/// Rows of a task, in whole tiles: about `per_thread` for each thread, and of such a size that no thread is left without work while
/// others still have some.
pub(crate) fn rows_per_task(rows: usize, threads: usize, per_thread: usize) -> usize {
    let tiles = rows.div_ceil(TILE).max(1);
    let most = tiles.div_ceil(threads * per_thread);
    // Tiles that the busiest thread goes through.
    let longest = |per_task: usize| tiles.div_ceil(per_task).div_ceil(threads) * per_task;
    let best = (1..=most).rev().min_by_key(|&per_task| longest(per_task)).unwrap_or(1);
    best * TILE
}

/// Calls `work` with the first row and the numbers of each task, of tasks that go through a whole right side each: large ones first, since each
/// takes it from one cache into the next, then smaller ones, which a thread that is done takes over from one that was held up.
pub(crate) fn in_shrinking_tasks(c: &mut [f32], c_row: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    let rows = c.len() / c_row;
    let mut left = c;
    let tasks: Vec<_> = shrinking(rows, rayon::current_num_threads())
        .map(|rows| {
            let (task, rest) = std::mem::take(&mut left).split_at_mut(rows.len() * c_row);
            left = rest;
            (rows.start, task)
        })
        .collect();
    tasks.into_par_iter().with_max_len(1).for_each(|(first, c)| work(first, c));
}

/// Rows in order, whole tiles but for the last, each thread's part of them by halves.
fn shrinking(rows: usize, threads: usize) -> impl Iterator<Item = Range<usize>> {
    let tiles = rows.div_ceil(TILE);
    (0..threads).flat_map(move |thread| {
        let (mut at, end) = (tiles * thread / threads, tiles * (thread + 1) / threads);
        std::iter::from_fn(move || {
            let left = end - at;
            let count = left.div_ceil(2).clamp(LEAST_TILES, MOST_TILES).min(left);
            at += count;
            (count > 0).then(|| (at - count) * TILE..(at * TILE).min(rows))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_end_together() {
        // 36 tiles on two threads: 12 tasks of three, where eight of five would leave one thread waiting.
        assert_eq!(rows_per_task(576, 2, 4), 3 * TILE);
        assert_eq!(rows_per_task(1536, 2, 4), 12 * TILE);
        assert_eq!(rows_per_task(192, 2, 4), 2 * TILE);
        assert_eq!(rows_per_task(1, 64, 4), TILE);
        assert_eq!(rows_per_task(0, 2, 4), TILE);
    }

    #[test]
    fn shrinking_tasks_have_every_row_once() {
        let tiles = |rows, threads| shrinking(rows, threads).map(|rows| rows.len().div_ceil(TILE)).collect::<Vec<_>>();
        assert_eq!(tiles(1536, 2), [24, 12, 6, 3, 3, 24, 12, 6, 3, 3]);
        assert_eq!(tiles(576, 2), [9, 5, 3, 1, 9, 5, 3, 1]);
        assert_eq!(tiles(20, 64), [1, 1]);
        assert_eq!(tiles(0, 2), []);
        for (rows, threads) in [(1, 1), (100, 3), (1537, 2), (49_152, 5)] {
            let mut next = 0;
            for task in shrinking(rows, threads) {
                assert_eq!(task.start, next);
                next = task.end;
            }
            assert_eq!(next, rows);
            let mut c = vec![0f32; rows * 2];
            in_shrinking_tasks(&mut c, 2, |first, c| {
                c.chunks_exact_mut(2).zip(first..).for_each(|(row, at)| row[1] += at as f32);
            });
            let found: Vec<f32> = c.into_iter().skip(1).step_by(2).collect();
            assert_eq!(found, (0..rows).map(|row| row as f32).collect::<Vec<_>>());
        }
    }
}

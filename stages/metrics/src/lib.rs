//! Text metrics and paired statistics: BLEU, ROUGE, exact match, bootstrap, sign test.

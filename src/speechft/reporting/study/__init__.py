"""A study's page: what a study is, its table, the verdicts on its findings, and its plots."""

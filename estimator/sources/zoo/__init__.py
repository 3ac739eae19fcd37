"""The zoo: models by name, `zoo:NAME`, built from the settings in `estimator/data/zoo.toml` without their weights."""

.PHONY: test crds
test:
	cargo test --workspace

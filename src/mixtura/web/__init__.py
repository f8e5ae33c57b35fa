"""The page: plain files without a build step."""

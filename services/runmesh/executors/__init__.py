"""One file per executor type, which is the file's name: `runmesh.executor` describes what it exports."""

"""The parts of the Kubernetes emulator: `tests.emulators.k8s` puts them together.

==================  ==============================================================================
``store.py``        the objects, their versions, and what changed since (etcd)
``api.py``          the paths and verbs of the API server; ``watching.py`` lists and watches
``reading.py``      pods' logs
``checks.py``       what the API refuses of a manifest, in its words
``selectors.py``    which labels a caller asks for
``status.py``       every refusal is a Status object
``faults.py``       what goes wrong on request
``jobs.py``         the Job controller, and the garbage collector
``kubelet.py``      pods, as local processes; ``processes.py`` starts those
``expansion.py``    ``$(VARIABLE)`` in commands
==================  ==============================================================================
"""

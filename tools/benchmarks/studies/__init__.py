"""The parts of ``study.py``: arms that are compared over several seeds."""

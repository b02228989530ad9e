"""The GLM-V network and what belongs to it. Ground floor: imports nothing of ours."""

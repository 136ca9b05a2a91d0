"""Neural models behind small ports: every port has a real implementation and a fake that passes its tests."""

"""The code of models in PyTorch. An export cuts from these modules what its model needs; lmgen itself imports none of them."""

"""A model with a bottleneck adapter in the `adapters` library, for the scripts beside this one."""
import json, os


def is_bottleneck(folder):
    return os.path.exists(os.path.join(folder, "adapter.safetensors"))


def load(model_folder, adapter_folder, **options):
    """The model, with the adapter switched on, and the adapter's name."""
    import adapters
    from transformers import AutoModelForCausalLM

    with open(os.path.join(model_folder, "config.json")) as file:
        config = json.load(file)
    # The transformers that the library is made for reads the base of the angles where newer ones no longer write it.
    base = config.get("rope_parameters", config)["rope_theta"]
    model = AutoModelForCausalLM.from_pretrained(model_folder, rope_theta=base, **options)
    adapters.init(model)
    found = {}
    name = model.load_adapter(adapter_folder, use_safetensors=True, set_active=True, with_head=False, loading_info=found)
    assert not found["missing_keys"] and not found["unexpected_keys"], found
    return model, name
